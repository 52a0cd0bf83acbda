"""Smaller checkpoints of trained models."""
