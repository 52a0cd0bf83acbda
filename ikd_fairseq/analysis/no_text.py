"""Can the generated feature be translated without the text? Peng et al. 2022, section 5.2, Table 5.

Three rows, the last one if there is a checkpoint for it:

- "with text": the checkpoint as it is;
- "text taken away at test": the same weights, but the encoder sees the regions of the generated feature
  alone. They were never trained to do without the text;
- "trained without text": a checkpoint of a training of its own with --no-text.

In the last two the source sentence still generates the feature, and that is all that the decoder knows of it.
The paper does not say which of the two its row "w/o Text Feat." is. In the code released with it, the encoder
is trained without, and its regions ask the text embeddings, as those of a checkpoint with ``--text-memory
embedding`` do here.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import check
from ..evaluation.meteor import Meteor
from ..evaluation.metrics import compute_scores
from ..modules.multimodal_encoder import MultimodalEncoder
from .features import Trained, load_sentences, load_trained
from .output import Table, check_folder, new_figure, require, write_files
from .translation import references_of, translate

WITH_TEXT = "with text"
TAKEN_AWAY = "text taken away at test"
RETRAINED = "trained without text"


class System(NamedTuple):
    """A row of the table: a model, which two rows share; whether its encoder sees the regions alone."""

    name: str
    checkpoint: str
    trained: Trained
    no_text: bool


def load_image_free(checkpoint: str, data: str, device: str) -> Trained:
    """Loads a model that makes its regions from the text. Raises :class:`IkdError`, also for another kind."""
    trained = load_trained(checkpoint, data, device)
    check(
        isinstance(trained.model.encoder, MultimodalEncoder) and not trained.model.requires_images,
        f"{checkpoint} generates no feature from the text, so nothing would be left without it: give a "
        "checkpoint of ikd_transformer",
    )
    return trained


def load_systems(checkpoint: str, retrained: str | None, data: str, device: str) -> list[System]:
    """The rows of the table. Raises :class:`IkdError`, also for a checkpoint that its option is not for."""
    trained = load_image_free(checkpoint, data, device)
    check(
        not trained.model.encoder.no_text,
        f"--checkpoint {checkpoint} was trained with --no-text: give one that was not, and this one as "
        "--retrained",
    )
    systems = [System(WITH_TEXT, checkpoint, trained, False), System(TAKEN_AWAY, checkpoint, trained, True)]
    if retrained:
        other = load_image_free(retrained, data, device)
        check(
            other.model.encoder.no_text,
            f"--retrained {retrained} was trained with the text: give a checkpoint that was trained with "
            "--no-text",
        )
        systems.append(System(RETRAINED, retrained, other, True))
    return systems


def draw(table: Table, splits: Sequence[str], metrics: Sequence[str]):
    """Bars of the *table*'s rows side by side, a group a split and a panel a metric."""
    figure = new_figure(2 + 2.2 * len(splits) * len(metrics), 3.8, dpi=120, layout="constrained")
    panels = figure.subplots(1, len(metrics), squeeze=False)[0]
    width, groups = 0.8 / len(table.rows), np.arange(len(splits))
    for metric, axes in zip(metrics, panels):
        columns = [table.columns.index(f"{metric} {split}") for split in splits]
        for number, row in enumerate(table.rows):
            places = groups + (number - (len(table.rows) - 1) / 2) * width
            bars = axes.bar(places, [row[column] for column in columns], width, label=row[0])
            axes.bar_label(bars, fmt="%.1f", fontsize=8)
        axes.set(ylabel=metric)
        axes.set_xticks(groups, splits, parse_math=False)
        axes.margins(y=0.1)
        axes.spines[["top", "right"]].set_visible(False)
    handles, names = panels[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside lower center", ncols=len(names), frameon=False)
    return figure


def run(
    *,
    split: Sequence[str],
    output: str,
    max_tokens: int,
    beam: int,
    retrained: str | None = None,
    references: str | None = None,
    meteor_language: str | None = None,
    meteor_jar: str | None = None,
    **model: Any,
) -> Table:
    """Writes ``no-text.tsv``, ``.json``, ``.png`` and translations, ``SPLIT.SYSTEM.txt``. Needs no images.

    Scores are those of ``ikd-score --preset tokenised``.
    """
    require("matplotlib")
    check(bool(meteor_language) or not meteor_jar, "--meteor-jar needs --meteor-language, such as de")
    check_folder(output)
    meteor = Meteor.find(meteor_language, "tokenised", meteor_jar) if meteor_language else None
    systems = load_systems(retrained=retrained, **model)
    trained = systems[0].trained
    # All of them, before the first one takes its minutes.
    datasets = {name: load_sentences(trained, name) for name in split}
    wanted = {name: references_of(trained, dataset, name, references) for name, dataset in datasets.items()}

    metrics = ["BLEU", "METEOR"] if meteor else ["BLEU"]
    rows: list[tuple] = []
    entries: list[dict[str, Any]] = []
    for system in systems:
        encoder = system.trained.model.encoder
        encoder.no_text = system.no_text
        if system.no_text:  # then there is nothing but regions to attend to
            encoder.regions_at_test, encoder.region_warmup = "shown", 0
        scores: dict[str, list[dict[str, Any]]] = {}
        for name, dataset in datasets.items():
            what = f"{name}, {system.name}"
            lines = translate(system.trained, dataset, range(len(dataset)), beam, max_tokens, what)
            write_files(output, {f"{name}.{system.name.replace(' ', '-')}.txt": lines})
            scores[name] = list(compute_scores(lines, wanted[name], metrics=["bleu"]).values())
            if meteor:
                scores[name].append(meteor.score(lines, wanted[name]))
        entries.append({"system": system.name, "checkpoint": system.checkpoint, "scores": scores})
        rows.append((system.name, *(score["score"] for found in scores.values() for score in found)))

    table = Table(["system", *(f"{metric} {name}" for name in datasets for metric in metrics)], rows)
    report = {"data": trained.data, "beam": beam, "systems": entries}
    picture = draw(table, list(datasets), metrics)
    write_files(output, {"no-text.tsv": table, "no-text.json": report, "no-text.png": picture})
    return table
