"""Which words of a sentence say a colour or name an entity: by annotation, a list, or their part of speech.

Every function takes sentences as lists of words and returns, for each of them, a set of positions from 0.
"""

import re
from collections.abc import Iterable, Sequence

from ..errors import IkdError, check
from ..io.progress import progress
from ..io.text_lines import read_lines

Sentence = Sequence[str]

NO_POSITION = "-1"  # of a file's line: the sentence has no such word

# The eleven basic colour terms of English (Berlin and Kay 1969), grey in both spellings. They are 96 % of the
# annotated colour words of Multi30K, which has dark, tan, gold, golden and silver too.
BASIC_COLOURS = tuple("black blue brown gray green grey orange pink purple red white yellow".split())

SPACY_MODEL = "en_core_web_sm"


def annotated_positions(sentences: Sequence[Sentence], paths: Iterable[str]) -> list[set[int]]:
    """The union of the positions in some files of annotation.

    Line i of a file holds the positions in sentence i, parted by spaces, or ``-1`` alone for none: the format
    of the annotation that Li et al. 2022 (``fairseq_mmt``) made from Flickr30K Entities. A position that
    several files have counts once.

    Raises:
        IkdError: a file cannot be read, has another number of lines than there are sentences, or holds what
            is no position of its sentence.
    """
    union: list[set[int]] = [set() for _ in sentences]
    for path in paths:
        lines = read_lines(path)
        check(
            len(lines) == len(sentences),
            f"{path} has {len(lines)} lines, but the splits {len(sentences)} sentences together: give "
            "positions for all of them in one file, split by split",
        )
        for number, (line, sentence) in enumerate(zip(lines, sentences)):
            union[number] |= _positions_of_line(line, sentence, f"{path}, line {number + 1}")
    return union


def _positions_of_line(line: str, sentence: Sentence, where: str) -> set[int]:
    if line.strip() == NO_POSITION:
        return set()
    entries = line.split()
    check(bool(entries), f"{where}: an empty line; {NO_POSITION} says that there is no position")
    size = f"whose {len(sentence)} words count from 0 ({' '.join(sentence)!r})"
    for entry in entries:
        remedy = f"(whole numbers from 0, or {NO_POSITION} alone for none)"
        check(bool(re.fullmatch("[0-9]+", entry)), f"{where}: {entry!r} is no position {remedy}")
        check(int(entry) < len(sentence), f"{where}: position {entry} is outside of its sentence, {size}")
    return set(map(int, entries))


def read_words(path: str) -> list[str]:
    """A list of words, one a line, in lower case. Raises :class:`IkdError`."""
    words = [line.strip().lower() for line in read_lines(path)]
    for number, word in enumerate(words, start=1):
        check(len(word.split()) == 1, f"{path}, line {number}: {word!r} is not one word")
    return words


def listed_positions(sentences: Sequence[Sentence], words: Iterable[str]) -> list[set[int]]:
    """Where a sentence has one of *words*, which are in lower case; case does not matter."""
    listed = frozenset(words)
    return [
        {place for place, word in enumerate(sentence) if word.lower() in listed} for sentence in sentences
    ]


def noun_positions(sentences: Sequence[Sentence], model: str) -> list[set[int]]:
    """The nouns of noun phrases, by spaCy's pipeline *model* on the words as they are.

    Of a phrase such as "two young white males" only "males" counts: articles, numbers and adjectives would be
    masked too if the whole phrase were, and that is not what the annotation of Multi30K holds. On its
    validation set 94 % of the words that en_core_web_sm 3.8 finds are annotated, and 97 % of the annotated
    ones found.

    Raises:
        IkdError: spaCy or its model is not installed, or the model has no parser.
    """
    try:
        import spacy
        from spacy.tokens import Doc

        pipeline = spacy.load(model, exclude=["ner", "lemmatizer"])
    except ModuleNotFoundError as error:
        raise IkdError(
            'entities without --positions are found by spaCy: pip install "ikd-fairseq[entities]", or give '
            "--positions FILE"
        ) from error
    except OSError as error:
        raise IkdError(
            f"spaCy has no model {model}: python -m spacy download {model}, or name another with "
            "--spacy-model"
        ) from error
    documents = (Doc(pipeline.vocab, words=list(sentence)) for sentence in sentences)
    tagged = progress(pipeline.pipe(documents), total=len(sentences), desc=model, unit=" sentences")
    try:
        return [
            {word.i for phrase in document.noun_chunks for word in phrase if word.pos_ in ("NOUN", "PROPN")}
            for document in tagged
        ]
    except (ValueError, NotImplementedError) as error:  # no parser; no rules for phrases of this language
        raise IkdError(
            f"spaCy's model {model} cannot find noun phrases: name one that has a parser with --spacy-model, "
            "or give --positions FILE"
        ) from error
