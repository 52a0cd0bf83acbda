"""Finished runs: the registry of systems, records, tables and the page about them."""
