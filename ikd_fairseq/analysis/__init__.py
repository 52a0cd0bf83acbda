"""What a trained model has learnt: one module an analysis, each a subcommand of ``ikd-analyse``.

A module has pure functions on tensors, and ``run(**options)``, which takes the values of the command's
options by name, writes its files into the folder ``output``, and returns the
:class:`~ikd_fairseq.analysis.output.Table` that the command prints. It raises :class:`IkdError` for input
that cannot be used. A new one gets an entry here and its options in ``cli/analyse.py``. No module is imported
before it is run. What ``run`` calls ``model`` are options of
:func:`~ikd_fairseq.analysis.features.load_trained`.
"""

# By name, which is that of the module too, but for its hyphens.
SUMMARIES = {
    "retrieval": "how often a generated feature finds the image of its sentence, and the chance level "
    "(Table 4)",
    "inverse": "the images that the student paints, next to the real ones",
    "inversion": "how well an inverse CNN learns to paint from the CNN's own maps, with even or odd kernels",
    "attention": "attention of text and regions on the source words in the first encoder layer, by head "
    "(Figure 4)",
    "clusters": "clusters of generated features, with the images nearest to each (Figure 3)",
    "regions": "what the generated regions do: attention on them, what tells sentences apart in them, "
    "translation without them",
    "no-text": "translations from the generated feature alone, without the text (Table 5)",
    "incongruent": "does a model that needs images look at them: its BLEU with those of other sentences",
    "degrade": "source text with colours or entities masked, to prepare and train on (Table 6)",
    "cases": "translations of systems side by side where they differ most, wrong words marked (Figure 5)",
}
