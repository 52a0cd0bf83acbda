"""A data folder whose targets are a teacher's translations, written in steps that can be repeated."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from ..errors import IkdError, check
from ..io.atomic import write_json
from ..io.checksums import sha256_of_file
from ..io.generate_output import read_generate_output
from ..io.locks import claim, is_left_behind
from ..io.manifests import differences, read_record
from ..io.text_index import text_indices
from .distilled_folder import write_distilled_folder
from .generation import MADE_FROM, Generation, Teacher, generate_shards
from .selection import check_sources, nbest_lists, select_targets
from .text_split import Split

logger = logging.getLogger(__name__)

GENERATED = "generated"  # folder in OUT with the shards
RECORD = "distilled.json"  # in OUT: what it was made from and, when all is there, the counts
_RECORDS = ((GENERATED, MADE_FROM), (RECORD,))

Counts = dict[str, Any]  # see :func:`~ikd_fairseq.distillation.selection.select_targets`


def check_out(out: str, data: str) -> None:
    """Refuses to write into the data folder itself, and among files that this command did not make."""
    same = os.path.realpath(out) == os.path.realpath(data)
    check(not same, f"{out} is the data folder itself: name another for OUT")
    if not os.path.exists(out):
        return
    check(os.path.isdir(out), f"{out} is a file: name a folder for OUT")
    ours = any(os.path.exists(os.path.join(out, *name)) for name in _RECORDS)
    foreign = f"{out} holds files that this command did not make"
    begun = all(name == GENERATED or is_left_behind(name) for name in os.listdir(out))
    check(ours or begun, f"{foreign}: name a new or an empty folder for OUT")


def earlier_shards(out: str) -> int | None:
    """In how many shards an earlier run into *out* translates, if there was one."""
    records = (read_record(os.path.join(out, *name)) for name in _RECORDS)
    return next((record["shards"] for record in records if record and "shards" in record), None)


def distil(
    out: str,
    generation: Generation,
    open_teacher: Callable[[], Teacher],
    select: str,
    only_shard: int | None = None,
) -> Counts:
    """Translates a split and writes the data folder *out*; returns its counts.

    Args:
        out: see :func:`check_out`.
        generation: what to translate, and how.
        open_teacher: called if there is something to translate.
        select: "best" or "closest".
        only_shard: translate this one alone, and write no data folder.

    Raises:
        IkdError: *out* was made otherwise or cannot be written, or the teacher cannot translate.
    """
    request = {"select": select, **generation.record()}
    if not _begin(generation.split, out, request):
        return {}
    outputs = generate_shards(os.path.join(out, GENERATED), generation, open_teacher, only_shard)
    if only_shard is not None:
        missing = ", ".join(str(shard) for shard, path in enumerate(outputs) if not os.path.exists(path))
        missing = missing or "none, so run the same command without --only-shard"
        logger.info("%s is complete; missing shards: %s", outputs[only_shard], missing)
        return {}
    return _write(generation.split, out, request, outputs, select, generation.nbest)


def distil_output(split: Split, out: str, outputs: Sequence[str], select: str, nbest: int) -> Counts:
    """Writes the data folder *out* from ready output of ``fairseq-generate``, as :func:`distil` does.

    Args:
        split: the split whose targets are replaced.
        outputs: files, which must hold every sentence of the split once.
        nbest: how many hypotheses of a sentence there must be, and are looked at.

    Raises:
        IkdError: the output is incomplete or of other text, or *out* was made otherwise or cannot be written.
    """
    for path in outputs:
        check(os.path.isfile(path), f"{path}: there is no such file")
    request = {
        "select": select,
        "nbest": nbest,
        "split": split.name,
        "data": split.fingerprint(),
        "generate_output": sorted(map(sha256_of_file, outputs)),
    }
    return _write(split, out, request, outputs, select, nbest) if _begin(split, out, request) else {}


def _begin(split: Split, out: str, request: dict[str, Any]) -> bool:
    """Makes *out* if need be. False if it is complete; refuses one made otherwise than *request* says."""
    record = read_record(os.path.join(out, RECORD))
    if record and record.get("finished"):
        other = differences(record, request)
        check(not other, f"{out} is complete, and was made from other {other}: name another folder for OUT")
        logger.info("%s is complete: nothing to do", out)
        return False
    if text_indices(split.folder, further := f"{split.name}1"):
        warning = "%s also holds %s, which fairseq adds to %s in training and whose targets stay as they are"
        logger.warning(warning, split.folder, further, split.name)
    try:
        os.makedirs(out, exist_ok=True)
    except OSError as error:
        raise IkdError(f"the folder {out} cannot be made ({error.strerror or error})") from error
    check(os.access(out, os.W_OK), f"the folder {out} cannot be written to: check its permissions")
    return True


def _write(
    split: Split, out: str, request: dict[str, Any], outputs: Sequence[str], select: str, nbest: int
) -> Counts:
    with claim(os.path.join(out, RECORD)):
        found = read_generate_output(*outputs)
        lists = nbest_lists(found, split.sentences, nbest)
        check_sources(split, found)
        targets, counts = select_targets(split, lists, select)
        write_json(os.path.join(out, RECORD), {**request, "finished": False})
        try:
            write_distilled_folder(split, out, targets)
        except OSError as error:
            raise IkdError(f"{out} cannot be written ({error.strerror or error})") from error
        write_json(os.path.join(out, RECORD), {**request, **counts, "finished": True})
        logger.info("%s is complete, with the %s hypotheses as targets of %s", out, select, split.name)
        return counts
