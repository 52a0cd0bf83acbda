"""Harm done on purpose: bad inputs, kills, full disks, two at once. See ``python -m tests.faults --help``."""
