"""Scores of a run's translations for its record: on every sentence, and on those that have an image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..constants import NO_IMAGE
from ..data.image_pack import ImagePack
from ..errors import check
from ..evaluation.meteor import Meteor
from ..evaluation.metrics import METRICS, compute_scores
from ..evaluation.translations import ordered_sentences, remove_bpe
from ..io.generate_output import decoding_speed, read_generate_output
from ..io.text_index import sentence_counts
from ..io.text_lines import read_lines
from .record import ALL, WITH_IMAGE, Group, Metric, Score, Sentences

PRESET = "tokenised"  # the BLEU of the papers on Multi30K


def score_output(
    output: Path,
    data: Path,
    split: str,
    beam: int = 5,
    needs_images: bool = False,
    metrics: Sequence[str] = METRICS,
    meteor: Meteor | None = None,
) -> list[Score]:
    """Scores what fairseq-generate wrote into *output* of *split* of *data*; its log is beside it, as .log.

    Args:
        beam: of the search.
        needs_images: whether the system looks at images at test. Then sentences without one are not scored.
        metrics: some of "bleu", "chrf" and "ter".
        meteor: scores too where it is given.

    Returns:
        One score for every sentence, and one for those that have an image, where the split has a pack.

    Raises:
        IkdError: a sentence is missing, or data, references and translations do not fit together.
    """
    path = find_references(data, split)
    references = [remove_bpe(line) for line in read_lines(str(path))]
    (sentences,) = set(sentence_counts(str(data), split).values())
    check(
        len(references) == sentences,
        f"{data} has {sentences} sentences of {split}, but {path} has {len(references)}: prepare it again",
    )
    found = read_generate_output(str(output))
    hypotheses = ordered_sentences(
        found.hypotheses, len(references), str(output), "translation", found.skipped
    )
    own = [found.probabilities[place] for place in sorted(found.probabilities)]
    speed, probability = decoding_speed(output.with_suffix(".log")), sum(own) / len(own) if own else None
    scores = []
    for group, places in _groups(data, split, len(references), needs_images).items():
        ours, theirs = [hypotheses[i] for i in places], [references[i] for i in places]
        computed = dict(compute_scores(ours, theirs, PRESET, metrics))
        if meteor is not None:
            computed["meteor"] = meteor.score(ours, theirs)
        scores.append(
            Score(
                Sentences.of(group, {i: references[i] for i in places}),
                {key: Metric(one["name"], one["score"], one["signature"]) for key, one in computed.items()},
                beam,
                output.name,
                str(path.resolve()),
                speed,
                probability,
            )
        )
    check(
        bool(scores), f"no sentence of {split} in {data} has an image, without which the system is not scored"
    )
    return scores


def languages(data: Path, split: str) -> tuple[str, str]:
    """Source and target language of *split*.

    Raises:
        IkdError: the folder has no such split.
    """
    name = next(iter(sentence_counts(str(data), split)))
    source, target = name.removeprefix(f"{split}.").split(".")[0].split("-")
    return source, target


def find_references(data: Path, split: str) -> Path:
    """The references of *split*: the text that prepare.sh kept, or else its subwords.

    Raises:
        IkdError: there are neither.
    """
    _, target = languages(data, split)
    places = [data / folder / f"{split}.{target}" for folder in ("reference", "bpe")]
    check(
        any(path.is_file() for path in places),
        f"{data} has no references of {split} (reference/{split}.{target}): prepare it with prepare.sh",
    )
    return next(path for path in places if path.is_file())


def _groups(data: Path, split: str, count: int, needs_images: bool) -> dict[Group, list[int]]:
    """Places of the sentences to score together; where images are needed, none without an image."""
    every: dict[Group, list[int]] = {ALL: list(range(count))}
    if not ImagePack.exists(str(data / split)):
        return {} if needs_images else every
    index = ImagePack.open(str(data / split)).index
    check(
        len(index) == count,
        f"{split}.images.npy in {data} is of {len(index)} sentences, but there are {count}: pack again",
    )
    pictured: list[int] = np.flatnonzero(index != NO_IMAGE).tolist()
    if not pictured:
        return {} if needs_images else every
    with_image: dict[Group, list[int]] = {WITH_IMAGE: pictured}
    return with_image if needs_images and len(pictured) < count else {**every, **with_image}
