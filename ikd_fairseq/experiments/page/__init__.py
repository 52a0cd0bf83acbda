"""One page about finished runs, which ``ikd-report`` writes.

``document`` reads the records, and hands values to ``templates/``: one for the page, one for each section of
it. Every other module works out the values of one section.
"""
