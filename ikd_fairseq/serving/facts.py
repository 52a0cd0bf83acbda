"""What a checkpoint's text is: in the file if it was exported so, else in the data folder of its training."""

import os
from pathlib import Path

from fairseq import utils
from fairseq.data import Dictionary

from ..constants import DICTIONARIES, MERGES, TEXT
from ..errors import IkdError, check, check_file
from ..io.checkpoints import State, config_section
from ..tasks.vocabulary import check_fingerprints, find_languages, fingerprints
from .text import MOSES, TextFacts, read_merges


def dictionary_of(words: tuple[str, ...]) -> Dictionary:
    """fairseq's dictionary of *words*, its own four symbols before them."""
    dictionary = Dictionary()
    for word in words:
        dictionary.add_symbol(word, overwrite=True)
    return dictionary


def facts_of_checkpoint(
    state: State, checkpoint: str | os.PathLike, data: str | None = None, tokenizer: str | None = None
) -> TextFacts:
    """Languages, dictionaries, merges, casing and tokeniser of a checkpoint.

    Args:
        state: what the file *checkpoint* holds.
        data: data folder of the training (default: what travels in the checkpoint, else the folder that the
            training was given, as far as it is there). Merges may lie beside the checkpoint too.
        tokenizer: instead of ``moses``, or of what the checkpoint says.

    Raises:
        IkdError: they are nowhere, cannot be read, or are not those of the training.
    """
    if state.get(TEXT) is not None and data is None:
        return TextFacts.of_record(state[TEXT], str(checkpoint)).with_tokenizer(tokenizer)
    task = config_section(state, "task")
    folder = data or next(iter(utils.split_paths(str(task.get("data") or ""))), "")
    remedy = "give the data folder that the model was trained on with --data"
    check(
        os.path.isdir(folder),
        f"{checkpoint}: its dictionaries were in {folder!r}, which is no folder; {remedy}",
    )
    languages = find_languages([folder], task.get("source_lang"), task.get("target_lang"))
    source, target = (Dictionary.load(os.path.join(folder, f"dict.{side}.txt")) for side in languages)
    here = fingerprints(source, target, folder, languages)
    trained = state.get("task_state")
    trained = trained.get(DICTIONARIES) if isinstance(trained, dict) else None  # version 0.1 has none
    check_fingerprints(trained if isinstance(trained, dict) else {}, here, languages, folder, str(checkpoint))
    words = (tuple(source.symbols[source.nspecial :]), tuple(target.symbols[target.nspecial :]))
    return TextFacts.of_words(languages, words, _merges(str(checkpoint), folder), tokenizer or MOSES)


def _merges(checkpoint: str, folder: str) -> str | None:
    """Those of the data folder, else those that train.sh leaves beside a checkpoint; None for neither."""
    beside = os.path.join(os.path.dirname(checkpoint), MERGES)
    path = next(filter(os.path.isfile, (os.path.join(folder, MERGES), beside)), None)
    if path is None:
        return None
    check_file(path)
    try:
        merges = Path(path).read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise IkdError(f"{path}: not UTF-8; take the BPE merges from a copy") from error
    read_merges(merges, path)  # for what it refuses
    return merges
