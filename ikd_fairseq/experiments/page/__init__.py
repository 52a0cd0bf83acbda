"""One page about finished runs: what ``ikd-report`` reads, works out and writes.

``runs``, ``training_log`` and ``pictures`` read folders, ``scores`` compares systems, ``charts`` draws and
``markup`` escapes. There is a module for each section, and ``page`` puts them into one HTML document.
"""
