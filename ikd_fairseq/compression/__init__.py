"""Smaller checkpoints of trained models."""

from .. import needs_fairseq  # noqa: F401
