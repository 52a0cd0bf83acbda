"""A data folder whose training targets are a teacher's translations, written in steps that can be repeated."""

import logging
import os
from collections.abc import Sequence
from typing import Any

from ..errors import IkdError, check
from ..io.atomic import write_json
from ..io.generate_output import read_generate_output
from ..io.manifests import differences, read_record
from ..io.text_index import text_index_files
from .distilled_folder import Split, write_distilled_folder
from .generation import MADE_FROM
from .selection import check_sources, nbest_lists, select_targets

logger = logging.getLogger(__name__)

GENERATED = "generated"  # folder in OUT with the shards
RECORD = "distilled.json"  # in OUT: what it was made from and, when all is there, the counts


def check_out(out: str, data: str) -> None:
    """Refuses to write into the data folder itself, and among files that this command did not make."""
    check(
        os.path.realpath(out) != os.path.realpath(data),
        f"{out} is the data folder itself: name another for OUT",
    )
    if not os.path.exists(out):
        return
    check(os.path.isdir(out), f"{out} is a file: name a folder for OUT")
    ours = any(os.path.exists(os.path.join(out, *name)) for name in ((RECORD,), (GENERATED, MADE_FROM)))
    check(
        ours or not os.listdir(out),
        f"{out} holds files that this command did not make: name a new or an empty folder for OUT",
    )


def make_folder(path: str) -> None:
    """Makes the folder *path* if it is not there. Raises :class:`IkdError` if it cannot be written to."""
    try:
        os.makedirs(path, exist_ok=True)
    except OSError as error:
        raise IkdError(f"the folder {path} cannot be made ({error.strerror or error})") from error
    check(os.access(path, os.W_OK), f"the folder {path} cannot be written to: check its permissions")


def is_finished(out: str, request: dict[str, Any]) -> bool:
    """Whether *out* is complete, and made as *request* says. Raises :class:`IkdError` if made otherwise."""
    record = read_record(os.path.join(out, RECORD))
    if record is None or not record.get("finished"):
        return False
    other = differences(record, request)
    check(not other, f"{out} is complete, and was made from other {other}: name another folder for OUT")
    return True


def distil(
    split: Split, out: str, request: dict[str, Any], outputs: Sequence[str], select: str, nbest: int
) -> dict[str, Any]:
    """Writes the data folder *out* from ready output of ``fairseq-generate``; returns its counts.

    Args:
        split: the split whose targets are replaced.
        out: an existing folder, see :func:`check_out`.
        request: what the folder's record says of its making.
        outputs: files, which must hold every sentence of the split once.
        select: "best" or "closest".
        nbest: how many hypotheses of a sentence there must be, and are looked at.

    Raises:
        IkdError: the output is incomplete or of other text, or the folder cannot be written.
    """
    found = read_generate_output(*outputs)
    lists = nbest_lists(found, split.sentences, nbest)
    check_sources(split, found)
    selection = select_targets(split, lists, select)
    write_json(os.path.join(out, RECORD), {**request, "finished": False})
    write_distilled_folder(split, out, selection.targets)
    write_json(os.path.join(out, RECORD), {**request, **selection.counts, "finished": True})
    return selection.counts


def earlier_shards(out: str) -> int | None:
    """In how many shards an earlier run into *out* translates, if there was one."""
    records = (read_record(os.path.join(out, *name)) for name in ((GENERATED, MADE_FROM), (RECORD,)))
    return next((record["shards"] for record in records if record and "shards" in record), None)


def warn_of_further_parts(split: Split) -> None:
    """fairseq trains on ``train``, ``train1``, ... together, and generates from one of them."""
    further = f"{split.name}1"
    if text_index_files(split.folder, further):
        logger.warning(
            "%s also holds %s, which fairseq adds to %s in training and whose targets stay as they are",
            split.folder,
            further,
            split.name,
        )
