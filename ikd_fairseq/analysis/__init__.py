"""What a trained model has learnt: one module an analysis, each a subcommand of ``ikd-analyse``.

A module has pure functions on tensors and three names that ``cli/analyse.py`` looks for:

- ``SUMMARY``: one line of help;
- ``add_arguments(parser)``: declares its options;
- ``run(**options)``: takes their values by name, writes its files into ``output``, and returns the
  :class:`~ikd_fairseq.analysis.output.Table` that the command prints.
"""
