"""Sentence pairs as fairseq batches them, with what a pack or a cache has for each."""

from ... import needs_fairseq  # noqa: F401
