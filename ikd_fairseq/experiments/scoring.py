"""Scores of a run's translations for its record: on every sentence, and on those that have an image."""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..constants import NO_IMAGE
from ..data.image_pack import ImagePack, read_index
from ..errors import IkdError, check
from ..evaluation.meteor import Meteor
from ..evaluation.metrics import METRICS, compute_scores
from ..evaluation.references import read_references, references_file
from ..evaluation.translations import ordered_sentences
from ..io.generate_output import decoding_speed, read_generate_output
from ..io.text_index import sentence_counts, text_indices
from .record import ALL, WITH_IMAGE, Group, Metric, Score, Sentences

PRESET = "tokenised"  # the BLEU of the papers on Multi30K


def score_output(
    output: Path,
    data: Path,
    split: str,
    needs_images: bool = False,
    metrics: Sequence[str] = METRICS,
    meteor: Meteor | None = None,
    target: str | None = None,
    **made_by: Any,
) -> list[Score]:
    """Scores what fairseq-generate wrote into *output* of *split* of *data*; its log is beside it, as .log.

    Args:
        needs_images: whether the system looks at images at test. Then sentences without one are not scored.
        metrics: some of "bleu", "chrf" and "ter".
        meteor: scores too where it is given.
        target: the language translated into; by default the second one of the files' names.
        made_by: beam and further options of the search, and the checkpoint, as :class:`Score` has them.

    Returns:
        One score for every sentence, and one for those that have an image, where the split has a pack.

    Raises:
        IkdError: a sentence is missing, or data, references and translations do not fit together.
    """
    path = find_references(data, split, target or languages(data, split)[1])
    references = read_references(path)
    (count,) = set(sentence_counts(str(data), split).values())
    check(
        len(references) == count,
        f"{data} has {count} sentences of {split}, but {path} has {len(references)}: prepare it again",
    )
    found = read_generate_output(str(output))
    hypotheses = ordered_sentences(found.hypotheses, count, str(output), "translation", found.skipped)
    probabilities = found.probabilities.values()
    mean = statistics.fmean(probabilities) if probabilities else None
    speed = decoding_speed(output.with_suffix(".log"))
    scores = []
    for group, places in _groups(data, split, count, needs_images).items():
        ours, theirs = [hypotheses[i] for i in places], [references[i] for i in places]
        computed = dict(compute_scores(ours, theirs, PRESET, metrics))
        if meteor is not None:
            computed["meteor"] = meteor.score(ours, theirs)
        values = {key: Metric(one["name"], one["score"], one["signature"]) for key, one in computed.items()}
        sentences = Sentences.of(group, dict(zip(places, theirs)))
        scores.append(
            Score(
                sentences,
                values,
                output=output.name,
                references=str(path.resolve()),
                sentences_per_second=speed,
                probability=mean,
                **made_by,
            )
        )
    check(
        bool(scores), f"no sentence of {split} in {data} has an image, without which the system is not scored"
    )
    return scores


def languages(data: Path, split: str) -> tuple[str, str]:
    """Source and target language, as the files of *split* are named.

    Raises:
        IkdError: the folder has no such split.
    """
    sentence_counts(str(data), split)
    source, target = text_indices(str(data), split)[0].pair.split("-")
    return source, target


def find_references(data: Path, split: str, target: str) -> Path:
    """The references of *split* in *target*, a language: the text that prepare.sh kept, or its subwords.

    Raises:
        IkdError: there are neither.
    """
    found = references_file(data, split, target)
    if found is None:
        raise IkdError(
            f"{data} has no references of {split} (reference/{split}.{target}): put its target side there"
        )
    return found


def _groups(data: Path, split: str, count: int, needs_images: bool) -> dict[Group, list[int]]:
    """Places of the sentences to score together; where images are needed, none without an image."""
    pictured: list[int] = []
    prefix = str(data / split)
    if ImagePack.exists(prefix):
        manifest = ImagePack.read_manifest(prefix)
        index = read_index(prefix, manifest, manifest["images"], ImagePack.remedy)
        check(
            len(index) == count,
            f"{split}.images.npy in {data} is of {len(index)} sentences, but there are {count}: pack again",
        )
        pictured = (index != NO_IMAGE).nonzero()[0].tolist()
    groups: dict[Group, list[int]] = {ALL: list(range(count)), WITH_IMAGE: pictured}
    if needs_images and len(pictured) < count:
        del groups[ALL]
    return {group: places for group, places in groups.items() if places}
