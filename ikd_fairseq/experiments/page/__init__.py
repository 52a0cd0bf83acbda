"""One page about finished runs: what ``ikd-report`` reads, works out and writes.

``runs``, ``training_log`` and ``analyses`` read folders, ``scores`` compares systems, ``charts`` places
lines. ``document`` hands their values to ``templates/``: one for the page, and one for each section of it.
"""
