"""A small folder with a file of every kind that commands read, and the commands that read and write them."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from tests.integration.command_line import IKD, MODEL, OPTIMIZER, TASK, WarmCommand, arguments, run
from tests.integration.conftest import prepare

SMOOTHED = "--criterion label_smoothed_cross_entropy --label-smoothing 0.1"
FUSED = f"--arch gated_fusion_tiny {MODEL} {SMOOTHED}"
RETRIEVAL = f"--arch retrieval_transformer_tiny {MODEL} {SMOOTHED} --retriever"
CNN = "--backbone efficientnet_lite0 --backbone-weights random"
SYSTEMS = {
    "text": f"--arch transformer_mmt_tiny {MODEL} {SMOOTHED}",
    "ikd": IKD,
    "fused": f"{FUSED} {CNN} --image-size 64",
    "featured": f"{FUSED} --backbone efficientnet_lite0 --image-size 64 --image-features cnn",
    "topic": f"{RETRIEVAL} topic",
    "dense": f"{RETRIEVAL} dense",
    "taught": f"""--arch transformer_mmt_tiny {MODEL} --criterion word_distillation --label-smoothing 0.1
        --teacher-cache own""",
}
# No more than it takes to read everything; nothing is kept.
QUICK = "--max-update 1 --disable-validation --no-save --save-dir {w}/new"
SHORT = "--max-tokens 300 --seed 3 --required-batch-size-multiple 1"


def train(system: str, more: str = "") -> tuple[str, str]:
    """The command that trains *system* on ``{w}/data`` into ``{w}/run``: module and line."""
    return "fairseq_cli.train", f"{{w}}/data {TASK} {SYSTEMS[system]} {OPTIMIZER} {SHORT} {more}"


def translate(checkpoint: str, more: str = "") -> tuple[str, str]:
    """The command that translates the test set with ``{w}/checkpoint``."""
    line = f"{{w}}/data {TASK} --path {{w}}/{checkpoint} --beam 2 --max-len-b 10 --batch-size 20 --cpu {more}"
    return "fairseq_cli.generate", line


def ours(command: str, line: str) -> tuple[str, str]:
    """A console script of ours by the name of its module, e.g. ``export``."""
    return f"ikd_fairseq.cli.{command}:main", line


PACK = ours(
    "pack_images",
    "--data {w}/data --split train"
    " --list {w}/train.images.txt --images {w}/images --image-size 64 --workers 1",
)
EXTRACT = ours("extract_features", f"--data {{w}}/data --split train --name cnn {CNN}")
TOPIC = ours(
    "build_image_index",
    "--data {w}/data --retriever topic --stop-share 0.9 --topics 4 --image-features cnn",
)
DENSE = ours(
    "build_image_index",
    "--data {w}/data --retriever dense --width 8 --epochs 3 --image-features cnn",
)
CACHE = ours(
    "cache_teacher", "{w}/data --split train --teacher-path {w}/text.pt --name own --top-k 3 --device cpu"
)
DISTIL = ours("distil_data", "{w}/data {w}/distilled --teacher-path {w}/text.pt --shards 2 --cpu")
AVERAGE = ours("average_checkpoints", "{w}/text.pt {w}/text2.pt --output {w}/average.pt")
EXPORT = ours("export", "{w}/ikd.pt {w}/exported.pt")
FORMATS = {
    name: ours("export", f"{{w}}/{model}.pt {{w}}/{name} --format {name} --data {{w}}/data")
    for name, model in (("huggingface", "text"), ("ctranslate2", "text"), ("onnx", "ikd"))
}
PRUNE = ours("prune", "{w}/text.pt {w}/pruned.pt --sparsity 0.4")
SCORE = ours("score", "--generate-output {w}/run/generate-test.txt --metrics bleu chrf --json {w}/score.json")
RECORD = ours("record", "train {w}/run --data {w}/data --system text")
RECORD_SCORE = ours(
    "record", "score {w}/run --data {w}/data --split test --checkpoint {w}/text.pt --metrics bleu chrf"
)
TABLE = ours("table", "{w}/run --splits test --baseline text --trials 100 --output {w}/table.md")
REPORT = ours("report", "{w}/run --splits test --output {w}/report.html")


def line_of(command: tuple[str, str], folder: Path) -> tuple[str, list[str]]:
    module, line = command
    return module, arguments(line.replace("{w}", str(folder)))


def must(command: tuple[str, str], folder: Path) -> str:
    """Runs *command* in *folder* to a good end and returns what it printed."""
    module, argv = line_of(command, folder)
    return run(module, argv)


def start(command: tuple[str, str], folder: Path, **options: Any) -> WarmCommand:
    """Starts *command* in *folder*, in a copy of the warm process."""
    module, argv = line_of(command, folder)
    return WarmCommand(module, argv, cwd=folder, **options)


def make_workbench(folder: Path) -> Path:
    """Fills *folder* with text, images, packs, features, indexes, a cache, checkpoints, and a scored run."""
    splits = {"train": (48, range(30)), "valid": (6, range(0, 6, 2)), "test": (20, range(0, 20, 3))}
    prepare(folder, splits)
    for split in ("valid", "test"):
        must(ours("extract_features", f"--data {{w}}/data --split {split} --name cnn {CNN}"), folder)
    for command in (EXTRACT, TOPIC, DENSE):
        must(command, folder)
    ends = "--no-epoch-checkpoints --disable-validation"
    must(train("text", f"{ends} --max-update 6 --save-interval-updates 3 --save-dir {{w}}/run"), folder)
    saved = sorted((folder / "run").glob("checkpoint_*_*.pt"))
    shutil.move(saved[0], folder / "text2.pt")
    shutil.copy(folder / "run" / "checkpoint_last.pt", folder / "text.pt")
    for system in ("ikd", "fused", "topic"):
        must(train(system, f"{ends} --max-update 1 --save-dir {{w}}/{system}"), folder)
        shutil.move(folder / system / "checkpoint_last.pt", folder / f"{system}.pt")
        shutil.rmtree(folder / system)
    must(ours("export", "{w}/ikd.pt {w}/ikd-small.pt"), folder)
    os.replace(folder / "ikd-small.pt", folder / "ikd.pt")
    must(CACHE, folder)
    (folder / "run" / "generate-test.txt").write_text(must(translate("text.pt"), folder), encoding="utf-8")
    (folder / "data" / "reference").mkdir()
    for language in ("en", "de"):
        shutil.copy(folder / f"test.{language}", folder / "data" / "reference" / f"test.{language}")
    must(RECORD, folder)
    must(RECORD_SCORE, folder)
    return folder


def copy_workbench(workbench: Path, folder: Path) -> Path:
    """A copy of the workbench that may be spoilt: nothing in it shares its content with the original."""
    return shutil.copytree(workbench, folder, symlinks=True)


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file below *folder*, by its name there."""
    found = {}
    for path in walk(folder):
        status = os.lstat(path)
        found[str(path.relative_to(folder))] = (status.st_size, status.st_mtime_ns)
    return found


def walk(folder: Path) -> Iterator[Path]:
    for root, _, names in os.walk(folder):
        yield from (Path(root, name) for name in sorted(names))


def content(path: Path) -> str | None:
    """A digest of what the file *path* says, dates and durations apart; None if there is none."""
    if not path.exists():
        return None
    digest = hashlib.sha256()
    if path.suffix == ".pt":
        _digest(torch.load(path, weights_only=False), digest)
    elif path.suffix == ".json":
        _digest(_timeless(json.loads(path.read_text(encoding="utf-8"))), digest)
    else:
        digest.update(path.read_bytes())
    return digest.hexdigest()


# Time and memory taken, and how often a training was resumed.
_OF_THE_PROCESS = ("previous_training_time", "metrics", "process", "optimizer_history")


def _digest(value: Any, digest: Any) -> None:
    if isinstance(value, torch.Tensor):
        digest.update(f"{value.dtype} {tuple(value.shape)}".encode())
        digest.update(
            value.contiguous().view(-1).view(torch.uint8).numpy().tobytes() if value.numel() else b""
        )
    elif isinstance(value, dict):
        for key in sorted(value, key=repr):
            if key not in _OF_THE_PROCESS:
                digest.update(repr(key).encode())
                _digest(value[key], digest)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            _digest(entry, digest)
    elif hasattr(value, "__dict__"):
        _digest(vars(value), digest)
    else:
        digest.update(repr(value).encode())


def _timeless(value: Any) -> Any:
    """A record without what differs between two runs of the same command."""
    if isinstance(value, dict):
        drop = ("seconds", "wall", "time", "date", "started", "ended", "memory", "speed", "hardware", "steps")
        return {key: _timeless(entry) for key, entry in value.items() if not any(d in key for d in drop)}
    if isinstance(value, list):
        return [_timeless(entry) for entry in value]
    return value
