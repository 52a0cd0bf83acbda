"""Metrics on lists of strings, their significance, and what was translated. No torch."""
