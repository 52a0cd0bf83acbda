"""Comparisons: registry of systems, plans, their grids of runs, records, tables and the page about them."""
