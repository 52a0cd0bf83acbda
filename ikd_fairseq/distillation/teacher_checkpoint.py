"""What must hold of a checkpoint that is to teach another model: same languages, same dictionaries."""

import os
from collections.abc import Iterator

from fairseq.data import Dictionary

from ..compat import load_safely
from ..errors import check
from ..io.checkpoints import config_section

_SAME = "a teacher must be trained with the student's dictionaries"


def check_teacher(
    path: str,
    source: Dictionary,
    target: Dictionary,
    source_lang: str | None = None,
    target_lang: str | None = None,
) -> None:
    """Refuses a teacher whose answers would mean other words than the student's.

    The checkpoint holds no dictionary. Its embeddings tell how many words there were; which ones, the
    dictionaries tell that lie beside the checkpoint or in its data folder, if they still do.

    Args:
        source, target, source_lang, target_lang: the student's dictionaries and languages.

    Raises:
        IkdError: the file is missing or unreadable, no translation model of fairseq, or of other languages or
            dictionaries.
    """
    check(os.path.isfile(path), f"teacher {path}: there is no such file")
    state = load_safely(path, "teacher")
    check(
        isinstance(state, dict)
        and isinstance(state.get("model"), dict)
        and (state.get("cfg") is not None or state.get("args") is not None),
        f"teacher {path} is no checkpoint of fairseq 0.10 or later",
    )
    trained_on = config_section(state, "task")
    languages = trained_on.get("source_lang"), trained_on.get("target_lang")
    check(
        all(theirs in (None, ours) for theirs, ours in zip(languages, (source_lang, target_lang))),
        f"teacher {path} translates {languages[0]}-{languages[1]}, not {source_lang}-{target_lang}: give a "
        "teacher of the same languages",
    )
    for side, part, ours, language in (
        ("source", "encoder", source, source_lang),
        ("target", "decoder", target, target_lang),
    ):
        table = state["model"].get(f"{part}.embed_tokens.weight")
        check(
            table is not None,
            f"teacher {path} has no {part} with word embeddings, so it is no translation model to learn from",
        )
        check(
            len(table) == len(ours),
            f"teacher {path} has a {side} dictionary of {len(table)} words, and the student one of "
            f"{len(ours)}: {_SAME}",
        )
        for dictionary in _dictionaries(path, trained_on.get("data"), language):
            check(
                Dictionary.load(dictionary) == ours,
                f"teacher {path} has another {side} dictionary than the student ({dictionary} lists other "
                f"words, or in another order): {_SAME}",
            )


def _dictionaries(path: str, data: str | None, language: str | None) -> Iterator[str]:
    """The teacher's dictionary of a language: beside the checkpoint, and in the folder it was trained on."""
    for folder in (os.path.dirname(path), (data or "").split(os.pathsep)[0]):
        dictionary = os.path.join(folder, f"dict.{language}.txt")
        if folder and os.path.isfile(dictionary):
            yield dictionary
