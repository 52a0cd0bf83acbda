"""Does a model look at the images that it demands? The adversarial evaluation of Elliott 2018.

Desmond Elliott: "Adversarial Evaluation of Multimodal Machine Translation", EMNLP 2018. The sentences that
have an image are translated with it, with the images of other sentences, shuffled several times, and without
any, by the text path. A model that makes use of its images does worse with those of others; one that does not
look gives the same translations.

Every shuffle gives each sentence the image of another one, and never the same picture, which several
sentences may share. Each condition is tested against the sentences' own images by paired bootstrap.

Deviation: the paper compares scores of single sentences by METEOR, here it is BLEU of the whole set.
"""

import logging
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np
from fairseq.data import LanguagePairDataset

from ..contracts import ModelContract, contract_of
from ..data.pairs.image_pair_dataset import ImagePairDataset
from ..errors import check
from ..evaluation.metrics import make_scorers
from ..evaluation.significance import Comparison, compare_runs
from .features import Trained, load_sentences, load_trained, source_text
from .output import Table, check_folder, new_figure, require, write_files
from .translation import references_of, translate, with_images_of

OWN = "own"
SHUFFLE = "another's, shuffle {number}"
MEAN = "another's, mean"
NONE = "none"

logger = logging.getLogger(__name__)


def derangement(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Shuffles images so that no sentence keeps its own.

    *images* are int ``S``: which image each sentence has. Several may have the same, but no more than half of
    them, as there would be too few others. Returns an int64 permutation ``S``: sentence i gets the image of
    sentence ``result[i]``.
    """
    _, of_sentence, counts = np.unique(images, return_inverse=True, return_counts=True)
    # Sentences in random order, those with the same image side by side. As far on as the most frequent image
    # reaches, there is always another one.
    order = random.permutation(len(images))
    order = order[np.argsort(random.permutation(len(counts))[of_sentence[order]], kind="stable")]
    others = np.empty_like(order)
    others[order] = np.roll(order, -counts.max())
    return others


def check_shuffling(images: np.ndarray, split: str) -> None:
    """Raises :class:`IkdError` if there are fewer than two images, or most of the sentences share one."""
    _, counts = np.unique(images, return_counts=True)
    check(
        len(counts) > 1,
        f"the sentences of {split} have {len(counts)} image between them, and shuffling needs two at least: "
        "give another --split",
    )
    check(
        2 * counts.max() <= len(images),
        f"{counts.max()} of the {len(images)} sentences with an image in {split} share one, too many for "
        "each of them to get another's: give another --split",
    )


def load_image_must(checkpoint: str, data: str, device: str) -> Trained:
    """Loads a model that needs images at test. Raises :class:`IkdError`, also if it never looks at any."""
    trained = load_trained(checkpoint, data, device, image_free=False)
    check(
        contract_of(trained.model, ModelContract).requires_images,
        f"{checkpoint} ({type(trained.model).__name__}) translates without images and never looks at any: "
        "give a checkpoint of an image-must architecture, such as multimodal_transformer or gated_fusion",
    )
    return trained


def conditions(
    trained: Trained, dataset: ImagePairDataset, sentences: np.ndarray, shuffles: Sequence[np.ndarray]
) -> dict[str, LanguagePairDataset]:
    """*dataset* with what the model is to see in each condition: :data:`OWN`, the shuffles, :data:`NONE`.

    A model without text (``--no-text``) has no condition without images. *shuffles* are those of S
    *sentences* with an image, int64 ``S`` each, see :func:`derangement`.
    """
    datasets = {OWN: dataset}
    for number, others in enumerate(shuffles, start=1):
        order = np.arange(len(dataset))
        order[sentences] = sentences[others]
        datasets[SHUFFLE.format(number=number)] = with_images_of(dataset, order)
    without_text = getattr(trained.model.encoder, "no_text", False)
    return datasets if without_text else {**datasets, NONE: dataset.dataset}


def table_of(translations: dict[str, list[str]], comparison: Comparison) -> Table:
    """A row a condition, and behind the shuffles their mean and sample standard deviation."""
    (_, own), *others = comparison.outcomes.items()
    rows: list[tuple] = [(OWN, *own.scores, "", "", "", "")]
    for name, outcome in others:
        changed = 100 * statistics.mean(map(str.__ne__, translations[name], translations[OWN]))
        rows.append((name, *outcome.scores, "", outcome.difference, changed, *outcome.p_values))
    shuffled = [row for row in rows if row[0] not in (OWN, NONE)]
    _, bleu, _, *means, _ = zip(*shuffled)
    deviation = statistics.stdev(bleu) if len(bleu) > 1 else ""
    mean = (MEAN, statistics.mean(bleu), deviation, *map(statistics.mean, means), "")
    rows.insert(1 + len(shuffled), mean)
    return Table(["images", "BLEU", "deviation", "difference", "changed %", "p"], rows)


def draw(table: Table):
    """BLEU by condition as points, the shuffles in one line with their mean and deviation."""
    lines: dict[str, list[float]] = {}
    for name, bleu, deviation, *_ in table.rows:
        if name == MEAN:
            mean = bleu, deviation
        else:
            lines.setdefault(name if name in (OWN, NONE) else "another's", []).append(bleu)
    figure = new_figure(6.4, 1.1 + 0.6 * len(lines), dpi=120, layout="constrained")
    axes = figure.subplots()
    for place, points in enumerate(lines.values()):
        axes.plot(points, [place] * len(points), "o", color="C0", alpha=0.4 if len(points) > 1 else 1)
    if mean[1] != "":
        mark = dict(fmt="D", color="C1", capsize=4, label="mean ± deviation")
        axes.errorbar(mean[0], 1, xerr=mean[1], **mark)
        axes.legend(frameon=False, fontsize=8)
    axes.axvline(table.rows[0][1], color="grey", linewidth=0.8, linestyle="--", zorder=0)
    axes.set(xlabel="BLEU (the axis does not begin at 0)", yticks=range(len(lines)))
    axes.set_yticklabels([f"image: {name}" for name in lines])
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def run(
    *,
    split: str,
    output: str,
    max_tokens: int,
    beam: int,
    shuffles: int,
    seed: int,
    references: str | None = None,
    **model: Any,
) -> Table:
    """Writes ``incongruent.tsv``, ``incongruent.json`` (with every translation) and ``incongruent.png``.

    BLEU is that of ``ikd-score --preset tokenised``, over the sentences that have an image.
    """
    require("matplotlib")
    check_folder(output)
    trained = load_image_must(**model)
    dataset = load_sentences(trained, split)
    sentences = dataset.images.with_entry
    images = dataset.images.index[sentences]
    check_shuffling(images, split)
    wanted = np.array(references_of(trained, dataset, split, references))[sentences].tolist()
    if shuffles == 1:
        logger.warning("--shuffles 1: a single shuffle has no deviation")

    random = np.random.default_rng(seed)
    orders = [derangement(images, random) for _ in range(shuffles)]
    translations = {
        name: translate(trained, shown, sentences.tolist(), beam, max_tokens, f"images: {name}")
        for name, shown in conditions(trained, dataset, sentences, orders).items()
    }
    runs = {name: [lines] for name, lines in translations.items()}
    comparison = compare_runs(runs, wanted, make_scorers(metrics=["bleu"]))["bleu"]
    table = table_of(translations, comparison)
    report = {
        **{"checkpoint": model["checkpoint"], "data": trained.data, "split": split},
        **{"beam": beam, "seed": seed},
        "sentences with an image": len(sentences),
        "distinct images": len(np.unique(images)),
        "comparison": comparison.as_json(),
        "sentences": [
            {
                "sentence": int(sentence),
                "source": source_text(trained, dataset, sentence),
                "reference": wanted[row],
                "images of": [int(sentences[order[row]]) for order in orders],
                "translations": {name: lines[row] for name, lines in translations.items()},
            }
            for row, sentence in enumerate(sentences)
        ],
    }
    write_files(
        output, {"incongruent.tsv": table, "incongruent.json": report, "incongruent.png": draw(table)}
    )
    return table
