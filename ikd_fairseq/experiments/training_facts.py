"""What a finished training tells: data by fingerprint, options as fairseq resolved them, costs."""

import argparse
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..constants import PROCESS
from ..contracts import parts_for_training
from ..data.image_pack import ImagePack
from ..errors import check
from ..io.checkpoints import (
    State,
    architecture_of,
    config_section,
    languages_of,
    load_checkpoint,
    num_updates,
    parameters_of,
    select_checkpoints,
)
from ..io.checksums import sha256_of_file
from ..io.manifests import read_record
from ..io.text_index import sentence_counts, text_indices
from .systems import System

LAST = "checkpoint_last.pt"


def training_facts(
    folder: Path, system: System, data: Path | None = None, labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """What :meth:`.record.Record.update` is to be told when *system* has been trained in *folder*.

    Args:
        data: the folder that it was trained on, by default that of its options.
        labels: what else tells this run from others of its grid.

    Raises:
        IkdError: there is no checkpoint or no data, or one cannot be read.
    """
    state = load_checkpoint(newest_checkpoint(folder))
    options = resolved_options(state)
    process = (state.get("task_state") or {}).get(PROCESS, {})
    data = data or Path(str(options.get("task", {}).get("data")).split(os.pathsep)[0])
    facts = data_facts(data)
    source, target = languages_of(state)
    step = {name: process.get(name) for name in ("peak_memory_mb", "peak_gpu_memory_mb", "threads")}
    step["seconds"] = state["extra_state"].get("previous_training_time")
    return {
        "system": system.name,
        "like": system.like,
        "seed": options.get("common", {}).get("seed"),
        "pair": f"{source}-{target}" if source and target else text_indices(str(data))[0].pair,
        "images": system.images,
        "labels": dict(labels or {}),
        "data": facts,
        "options": options,
        **{name: process[name] for name in ("code", "versions", "hardware") if name in process},
        "steps": {"train": {name: value for name, value in step.items() if value is not None}},
        "updates": num_updates(state),
        "epochs": _epochs(state),
        "stopped_by": stopped_by(state, options),
    }


def newest_checkpoint(folder: Path) -> Path:
    """``checkpoint_last.pt``, or the last epoch's of a training with ``--no-last-checkpoints``."""
    kept = not (folder / LAST).exists() and any(folder.glob("checkpoint[0-9]*.pt"))
    return select_checkpoints(folder, "epochs", 1)[0] if kept else folder / LAST


def resolved_options(state: State) -> dict[str, dict[str, Any]]:
    """The options in a checkpoint, by section ("model", "optimization", ...), as plain values.

    Checkpoints from before Hydra have one section for everything, "args".
    """
    if state.get("args") is not None:
        return {"args": _plain(config_section(state, "args"))}
    sections = {name: _plain(config_section(state, name)) for name in state["cfg"]}
    return {name: section for name, section in sections.items() if section}


def earlier_value(options: Mapping[str, Mapping[str, Any]], section: str, name: str) -> Any:
    """What an option stands for in a run from before there was one, with the *options* that it names.

    None for what is unknown too. See :func:`ikd_fairseq.checkpoint_settings.complete_settings`.
    """
    from fairseq.criterions import CRITERION_DATACLASS_REGISTRY
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.tasks import TASK_DATACLASS_REGISTRY

    registries = {
        "model": MODEL_DATACLASS_REGISTRY,
        "task": TASK_DATACLASS_REGISTRY,
        "criterion": CRITERION_DATACLASS_REGISTRY,
    }
    known = registries.get(section, {}).get(str(options.get(section, {}).get("_name")))
    value = _plain({name: getattr(known, "before", {}).get(name, getattr(known, name, None))})[name]
    if isinstance(value, str) and value.startswith("${"):  # that of another section
        owner, _, name = value.strip("${}").partition(".")
        return options.get(owner, {}).get(name)
    return value


def _plain(section: Any) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return vars(value) if isinstance(value, argparse.Namespace) else str(value)

    found = json.loads(json.dumps(section, default=plain))
    return found if isinstance(found, dict) else {}


def _epochs(state: State) -> int | None:
    """How many epochs were trained to their end."""
    epoch = state["extra_state"].get("train_iterator", {}).get("epoch")  # the one that comes next
    return None if epoch is None else int(epoch) - 1


def stopped_by(state: State, options: Mapping[str, Mapping[str, Any]]) -> str:
    """The option that ended the training of the last checkpoint of a finished run, such as "max_update"."""
    optimization = options.get("optimization", {})
    if 0 < (optimization.get("max_update") or 0) <= num_updates(state):
        return "max_update"
    if 0 < (optimization.get("max_epoch") or 0) <= (_epochs(state) or 0):
        return "max_epoch"
    hours = optimization.get("stop_time_hours") or 0
    if 0 < hours * 3600 <= state["extra_state"].get("previous_training_time", 0):
        return "stop_time_hours"
    return "patience" if options.get("checkpoint", {}).get("patience", -1) > 0 else ""


def data_facts(folder: Path) -> dict[str, Any]:
    """Size, coverage by images and SHA-256 of what stands in a data folder.

    Raises:
        IkdError: it is not there, or holds no text.
    """
    check(folder.is_dir(), f"data folder {folder} does not exist: give the one of the run by --data")
    splits = sorted({index.split for index in text_indices(str(folder))})
    check(bool(splits), f"{folder} holds no binarised text: give the data folder of the run by --data")
    masked = read_record(str(folder / "degrade.json"))  # of ikd-analyse degrade
    dictionaries = sorted(folder.glob("dict.*.txt"))
    return {
        "folder": str(folder),
        **({"masked": masked} if masked else {}),
        "dictionaries": {path.name: sha256_of_file(str(path)) for path in dictionaries},
        "splits": {split: _split_facts(folder, split) for split in splits},
    }


def _split_facts(folder: Path, split: str) -> dict[str, Any]:
    counts = sentence_counts(str(folder), split)
    text = [name[: -len("idx")] + end for name in counts for end in ("idx", "bin")]
    files = {name: sha256_of_file(str(folder / name)) for name in text}
    facts: dict[str, Any] = {"sentences": next(iter(counts.values())), "files": files}
    if ImagePack.exists(str(folder / split)):
        manifest = ImagePack.read_manifest(str(folder / split))  # features do without the images
        facts.update({key: manifest[key] for key in ("sentences_with_image", "image_size")})
        files[f"{split}.images.npy"] = manifest["images_sha256"]
        files[f"{split}.images.index.npy"] = manifest["index_sha256"]
    return facts


def model_facts(checkpoint: Path, state: State) -> dict[str, Any]:
    """What a checkpoint that translates is: its file and size, and numbers of parameters.

    Returns:
        "checkpoint", the name of the file, and its "sha256"; "megabytes" of it, or of packed.pt beside it,
        the same without its zeros;
        "averaged", how many checkpoints it is the mean of; "parameters", "decoding_parameters" and of these
        "decoding_parameters_not_zero", tied ones counted once.

    Raises:
        IkdError: the file cannot be read.
    """
    packed = checkpoint.with_name("packed.pt")
    decoding = parameters_of(state, parts_for_training(state["model"], architecture_of(state)))
    return {
        "checkpoint": checkpoint.name,
        "sha256": sha256_of_file(str(checkpoint)),
        "megabytes": (packed if packed.is_file() else checkpoint).stat().st_size / 1e6,
        "averaged": len(state["extra_state"].get("averaged_checkpoints", [])) or 1,
        "parameters": sum(tensor.numel() for tensor in parameters_of(state)),
        "decoding_parameters": sum(tensor.numel() for tensor in decoding),
        "decoding_parameters_not_zero": sum(int(torch.count_nonzero(tensor)) for tensor in decoding),
    }
