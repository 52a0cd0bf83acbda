"""A translation model teaches another: caches, ensembles, distilled folders, n-best lists."""
