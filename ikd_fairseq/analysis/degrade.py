"""Source text with its colours or its entities masked: Peng et al. 2022, section 5.3, Table 6.

Words of the source side are replaced by the token [U] in every split, training included. What comes out is a
folder that examples/multi30k/prepare.sh takes: masked text, the other languages and the image lists as they
were, and a link to the images. Systems trained on it show whether an image brings back what the text lacks.

Which words: those at the positions of annotation files (--positions), such as Multi30K's. The paper names the
depictable entities of Plummer et al. 2015 and nothing for colours; the released scripts mask the CSS3 names
of colours and every noun of a tagger. Without annotation,
colours are the words of a list, and entities the nouns in spaCy's noun phrases. A file of positions covers
the splits in the order train, val, test, test_2016_flickr, test_2017_flickr, test_2017_mscoco, as far as they
are there. Words are masked one by one: an entity of two words leaves two tokens, so that the length of a
sentence stays, as the annotation has it; the paper does not say.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import IkdError, check
from ..io.atomic import new_folder
from ..io.text_lines import read_lines
from .output import Table, check_folder, new_figure, require, write_files
from .word_positions import (
    BASIC_COLOURS,
    SPACY_MODEL,
    Sentence,
    annotated_positions,
    listed_positions,
    noun_positions,
    read_words,
)

COLOUR, ENTITY = "colour", "entity"
ENGLISH = "en"

# In the order in which a file of positions covers them; other test sets follow by name, as in prepare.sh.
SPLITS = ("train", "val", "test", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")

# A row of the table, how much of a split was masked: `touched` are sentences with at least one masked word.
COLUMNS = ("split", "sentences", "touched", "words", "masked", "percent")


def text_path(split: str, language: str) -> str:
    """Where the text of a split lies within a folder, as prepare.sh wants it."""
    return os.path.join("text", f"{split}.lc.norm.tok.{language}")


def read_splits(folder: str, language: str) -> dict[str, list[Sentence]]:
    """The sentences in *language* of the splits that are there: :data:`SPLITS`, then other test sets.

    Raises:
        IkdError: there are none, or one cannot be read.
    """
    tests = sorted(Path(folder, "text").glob(f"test*.lc.norm.tok.{language}"))
    names = dict.fromkeys([*SPLITS, *(path.name.removesuffix(f".lc.norm.tok.{language}") for path in tests)])
    paths = {split: os.path.join(folder, text_path(split, language)) for split in names}
    there = {split: read_lines(path) for split, path in paths.items() if os.path.isfile(path)}
    check(
        bool(there),
        f"--folder {folder} has no text in {language} (such as {paths[SPLITS[0]]}): lay it out as prepare.sh "
        "--help says",
    )
    return {split: [line.split() for line in lines] for split, lines in there.items()}


def draw(rows: Sequence[tuple], mask: str):
    """A figure with a bar for each split: the share of masked words."""
    figure = new_figure(1.6 * len(rows) + 1, 3.5, layout="constrained")
    axes = figure.subplots()
    bars = axes.bar([row[0].replace("_", "\n", 1) for row in rows], [row[-1] for row in rows])
    axes.bar_label(bars, fmt="%.2f")
    axes.margins(y=0.1)
    axes.set(ylabel="masked words in %", title={COLOUR: "colours", ENTITY: "entities"}[mask])
    return figure


def find_positions(
    sentences: Sequence[Sentence],
    language: str,
    mask: str,
    positions: Sequence[str] | None = None,
    colours: str | None = None,
    spacy_model: str | None = None,
) -> tuple[list[set[int]], dict[str, Any]]:
    """Where the words to mask stand in each sentence, and what says so, for the record.

    Raises:
        IkdError: options that contradict each other, or input that cannot be used (:mod:`.word_positions`).
    """
    for option, value, kind in (("--colours", colours, COLOUR), ("--spacy-model", spacy_model, ENTITY)):
        check(value is None or mask == kind, f"{option} is of no use with --mask {mask}: leave it out")
        check(
            value is None or positions is None,
            f"{option} and --positions both say which words to mask: give one",
        )
    if positions is not None:
        return annotated_positions(sentences, positions), {"positions": list(positions)}
    needed, value = ("--colours", colours) if mask == COLOUR else ("--spacy-model", spacy_model)
    check(
        language == ENGLISH or value is not None,
        f"which words to mask in {language} is not built in: give {needed} or --positions",
    )
    if mask == COLOUR:
        words = list(BASIC_COLOURS) if colours is None else read_words(colours)
        return listed_positions(sentences, words), {"colours": words}
    model = spacy_model or SPACY_MODEL
    return noun_positions(sentences, model), {"spacy_model": model}


def check_mask_token(token: str, splits: dict[str, list[Sentence]]) -> None:
    """Refuses a token that is not one word, or that a sentence has already. Raises :class:`IkdError`."""
    check(len(token.split()) == 1 and token == token.strip(), f"--mask-token {token!r} is not one word")
    for split, sentences in splits.items():
        for number, sentence in enumerate(sentences, start=1):
            there = token in sentence
            check(not there, f"line {number} of {split} has {token} already: choose another --mask-token")


def write_folder(folder: str, output: str, language: str, masked: dict[str, list[str]]) -> None:
    """Writes the *masked* sentences by split, and beside them all else that belongs to these splits.

    The other languages and the image lists are copied; ``images`` is a link to the folder of that name.
    """
    for part in ("text", "image_splits"):
        os.makedirs(os.path.join(output, part))
        for path in Path(folder, part).glob("*"):
            if path.name.split(".")[0] in masked:
                shutil.copyfile(path, os.path.join(output, part, path.name))
    write_files(output, {text_path(split, language): lines for split, lines in masked.items()})
    images = os.path.join(folder, "images")
    if os.path.isdir(images):
        os.symlink(os.path.realpath(images), os.path.join(output, "images"), target_is_directory=True)


def run(
    *,
    folder: str,
    output: str,
    mask: str,
    language: str,
    mask_token: str,
    positions: Sequence[str] | None = None,
    colours: str | None = None,
    spacy_model: str | None = None,
) -> Table:
    """Writes the folder *output*, which must be new or empty, complete or not at all.

    It gets ``degrade.tsv``, ``degrade.json`` and ``degrade.png`` too.
    """
    require("matplotlib")
    output = os.path.abspath(output)
    new = not os.path.exists(output) or (os.path.isdir(output) and not os.listdir(output))
    check(new, f"--output {output} is there already: delete it, or name another folder")
    check_folder(os.path.dirname(output))
    splits = read_splits(folder, language)
    check_mask_token(mask_token, splits)
    every = [sentence for sentences in splits.values() for sentence in sentences]
    found, source = find_positions(every, language, mask, positions, colours, spacy_model)

    masked: dict[str, list[str]] = {}
    rows: list[tuple] = []
    for split, sentences in splits.items():
        own, found = found[: len(sentences)], found[len(sentences) :]
        masked[split] = [
            " ".join(mask_token if place in places else word for place, word in enumerate(sentence))
            for sentence, places in zip(sentences, own)
        ]
        words, hidden = sum(map(len, sentences)), sum(map(len, own))
        percent = 100 * hidden / max(1, words)
        rows.append((split, len(sentences), sum(map(bool, own)), words, hidden, percent))
    changes = any(row[COLUMNS.index("masked")] for row in rows)
    check(changes, f"no word of {folder} is to be masked, so that nothing would change")
    table = Table([*COLUMNS[:-1], "% of words"], rows)
    settings = {"mask": mask, "token": mask_token, "language": language, "folder": os.path.abspath(folder)}
    report = {**settings, **source, "splits": [dict(zip(COLUMNS, row)) for row in rows]}
    files = {"degrade.tsv": table, "degrade.png": draw(rows, mask), "degrade.json": report}
    try:
        os.makedirs(os.path.dirname(output), exist_ok=True)
    except OSError as error:
        raise IkdError(f"--output {output} cannot be written ({error.strerror or error})") from error
    with new_folder(output) as partial:
        write_folder(folder, partial, language, masked)
        write_files(partial, files)
    return table
