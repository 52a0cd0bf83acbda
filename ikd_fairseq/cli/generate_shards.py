"""``fairseq-generate`` on a whole split: shard by shard, in processes of their own, each translated once."""

import contextlib
import json
import logging
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fairseq.utils import split_paths

from ..distillation.distilled_folder import Split
from ..distillation.teacher_checkpoint import check_teacher
from ..errors import IkdError, check
from ..io.checkpoints import write_atomically
from ..io.manifests import sha256_of_file
from ..io.progress import progress

logger = logging.getLogger(__name__)

MADE_FROM = "made-from.json"

# Options of fairseq-generate that cannot be passed on, with the reason.
_NOT_PASSED_ON = {
    **dict.fromkeys(
        "--path --gen-subset --beam --nbest --num-shards --shard-id --distributed-world-size "
        "--distributed-rank --task --user-dir --source-lang -s --target-lang -t --cpu --image-free "
        "--log-format --quiet --results-path".split(),
        "this command sets it itself",
    ),
    **dict.fromkeys(
        "--remove-bpe --post-process --bpe --tokenizer --replace-unk".split(),
        "the text must come out in the subwords that it went in with",
    ),
    **dict.fromkeys(
        "--skip-invalid-size-inputs-valid-test --truncate-source".split(),
        "every sentence must be translated whole",
    ),
}
_NOT_KEPT = (b"D-", b"P-")  # H- again, and the score of every token: most of the output
_TOO_LONG = re.compile(r"Size of sample #(?P<sentence>\d+) is invalid .*max_positions=(?P<limit>.*), skip ")


@dataclass(frozen=True)
class Generation:
    """What decides which translations come out, and in which shard each of them is.

    Attributes:
        split: the text.
        teacher_path: checkpoints as fairseq takes them, ``A:B`` for an ensemble.
        beam, nbest: hypotheses that the search follows, and those that it prints for a sentence.
        shards: in how many parts.
        image_free: whether the teacher goes without images.
        options: more options of ``fairseq-generate``.
    """

    split: Split
    teacher_path: str
    beam: int
    nbest: int
    shards: int
    image_free: bool = False
    options: tuple[str, ...] = ()

    def verify(self) -> None:
        """Refuses, before minutes are spent, what would not work.

        Raises:
            IkdError: an option is none to pass on, or a teacher is missing or has other dictionaries.
        """
        for option in self.options:
            name = option.partition("=")[0]
            check(
                name not in _NOT_PASSED_ON,
                f"{name} cannot be passed on to fairseq-generate: {_NOT_PASSED_ON.get(name)}",
            )
        for path in split_paths(self.teacher_path):
            split = self.split
            check_teacher(path, split.source_dictionary, split.target_dictionary, split.source, split.target)

    def record(self) -> dict[str, Any]:
        """What the shards are made from, for JSON: contents by SHA-256, as paths differ between machines."""
        return {
            "teacher": [sha256_of_file(path) for path in split_paths(self.teacher_path)],
            "data": self.split.fingerprint(),
            "split": self.split.name,
            "languages": [self.split.source, self.split.target],
            "beam": self.beam,
            "nbest": self.nbest,
            "shards": self.shards,
            "image_free": self.image_free,
            "options": list(self.options),
        }

    def command(self, shard: int, cpu: bool) -> list[str]:
        """The command line that translates one shard.

        fairseq 0.12 takes ``--num-shards`` and ``--shard-id`` and ignores them: its generate.py asks the
        distributed options which batches are its own, and starts no communication.
        """
        split = self.split
        return [
            *(sys.executable, "-m", "fairseq_cli.generate", split.folder),
            *("--user-dir", str(Path(__file__).resolve().parents[1]), "--task", "multimodal_translation"),
            *("--gen-subset", split.name, "--source-lang", split.source, "--target-lang", split.target),
            *("--path", self.teacher_path, "--beam", str(self.beam), "--nbest", str(self.nbest)),
            *("--distributed-world-size", str(self.shards), "--distributed-rank", str(shard)),
            *("--log-format", "none"),
            *(["--image-free"] if self.image_free else []),
            *(["--cpu"] if cpu else []),
            *self.options,
        ]


def read_record(path: str) -> dict[str, Any] | None:
    """The JSON object in the file *path*, or None if there is no such file. Raises :class:`IkdError`."""
    try:
        with open(path, encoding="utf-8") as stream:
            record = json.load(stream)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise IkdError(f"{path} cannot be read ({error}): remove its folder and start again") from error
    check(isinstance(record, dict), f"{path} is no record of this command: remove its folder and start again")
    return record


def write_record(path: str, record: dict[str, Any]) -> None:
    """Writes *record* as JSON, complete or not at all."""
    with write_atomically(path, "w", encoding="utf-8") as stream:
        json.dump(record, stream, indent=2, ensure_ascii=False)
        stream.write("\n")


def differences(then: dict[str, Any], now: dict[str, Any]) -> str:
    """The entries of *now* that are others in *then*, in words for a message; empty if there are none."""
    words = []
    for name, value in now.items():
        if then.get(name) != value:
            short = isinstance(value, (int, str)) and name in then
            words.append(name.replace("_", "-") + (f" ({then[name]}, now {value})" if short else ""))
    return ", ".join(words)


def shard_path(folder: str, shard: int, shards: int) -> str:
    """The file that a shard, counted from 0, is kept in."""
    return os.path.join(folder, f"shard-{shard}-of-{shards}.txt")


def generate_shards(
    folder: str, generation: Generation, workers: int = 1, cpu: bool = False, only_shard: int | None = None
) -> list[str]:
    """Translates the shards that are not in *folder* yet, and returns the paths of all, there or not.

    Args:
        folder: made if need be. A file there is a complete shard.
        generation: what to do.
        workers: processes at a time.
        cpu: use no GPU even if there is one.
        only_shard: leave all others alone; several machines may do one each at the same time.

    Raises:
        IkdError: the folder's shards were made from something else, or fairseq-generate failed.
    """
    os.makedirs(folder, exist_ok=True)
    record, record_path = generation.record(), os.path.join(folder, MADE_FROM)
    made_from = read_record(record_path)
    if made_from is None:
        check(
            not any(name.startswith("shard-") for name in os.listdir(folder)),
            f"{folder} holds shards, but not {MADE_FROM}, which says what they were made from: remove them",
        )
        write_record(record_path, record)
    else:
        other = differences(made_from, record)
        check(
            not other,
            f"{folder} was made from other {other}: give what it was made from, or another output folder",
        )

    paths = [shard_path(folder, shard, generation.shards) for shard in range(generation.shards)]
    wanted = range(generation.shards) if only_shard is None else [only_shard]
    todo = [shard for shard in wanted if not os.path.exists(paths[shard])]
    complete = [shard for shard in wanted if shard not in todo]
    if complete:
        logger.info("%s: %d of %d shards are complete already", folder, len(complete), len(wanted))
    # How many of the sentences are in one shard is not known before they are translated.
    sentences = generation.split.sentences if only_shard is None else None
    done = sum(_count_sentences(paths[shard]) for shard in complete)
    with progress(None, total=sentences, initial=done, desc="translating", unit=" sentences") as bar:
        _run_all(generation, {shard: paths[shard] for shard in todo}, workers, cpu, bar.update)
    return paths


def _count_sentences(path: str) -> int:
    with open(path, "rb") as stream:
        return sum(line.startswith(b"S-") for line in stream)


class _Processes:
    """Processes that end together.

    Attributes:
        error: the first error that ended them, which those of the others only follow from.
    """

    def __init__(self):
        self.error: BaseException | None = None
        self._running: set[subprocess.Popen] = set()
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def start(self, command: list[str], **options: Any) -> Iterator[subprocess.Popen]:
        with self._lock:
            check(self.error is None, "another shard failed")
            process = subprocess.Popen(command, **options)
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.remove(process)

    def end(self, error: BaseException) -> None:
        with self._lock:
            self.error = self.error or error
            for process in self._running:
                process.kill()


def _run_all(
    generation: Generation, todo: dict[int, str], workers: int, cpu: bool, on_sentence: Callable[[int], Any]
) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8"}
    if workers > 1:  # each would take all cores for itself
        environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    processes, lock = _Processes(), threading.Lock()

    def count() -> None:
        with lock:
            on_sentence(1)

    def run(shard: int, path: str) -> None:
        try:
            translate(shard, path)
        except BaseException as error:
            processes.end(error)
            raise

    def translate(shard: int, path: str) -> None:
        log = path[: -len(".txt")] + ".log"
        with open(log, "wb") as errors, write_atomically(path) as output:
            with processes.start(
                generation.command(shard, cpu), stdout=subprocess.PIPE, stderr=errors, env=environment
            ) as process:
                for line in process.stdout:
                    if not line.startswith(_NOT_KEPT):
                        output.write(line)
                    if line.startswith(b"S-"):
                        count()
            if process.returncode != 0:
                raise IkdError(_failure(shard, process.returncode, log, generation.split))
        os.remove(log)

    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(run, shard, path) for shard, path in todo.items()]
        try:
            for future in as_completed(futures):
                future.result()
        except BaseException as error:
            for future in futures:
                future.cancel()
            processes.end(error)
            raise processes.error


def _failure(shard: int, status: int, log: str, split: Split) -> str:
    """Why fairseq-generate ended with *status*: the sentence of ours that it printed, or its last line."""
    lines = [line.strip() for line in Path(log).read_text(encoding="utf-8", errors="replace").splitlines()]
    ours = [line.partition("error: ")[2] for line in lines if line.startswith("ikd_fairseq: error: ")]
    if ours:
        return ours[-1]
    reason = next((line for line in reversed(lines) if line), f"status {status}, perhaps for lack of memory")
    too_long = _TOO_LONG.search(reason)
    if too_long:
        return (
            f"sentence {too_long['sentence']} (from 0) of {split.prefix} is longer than the teacher's "
            f"{too_long['limit']} tokens (source, target): take it out of the corpus"
        )
    return f"fairseq-generate failed in shard {shard} ({reason}): {log} has all that it said"
