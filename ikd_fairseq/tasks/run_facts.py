"""What a training process says of itself, for the record of its run: versions, code, hardware, memory."""

import functools
import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from ..version import __version__

_peak_gpu_memory = 0  # in bytes

_PACKAGE = Path(__file__).resolve().parents[1]
_DISTRIBUTIONS = ("torch", "torchvision", "fairseq", "fairseq-fixed", "numpy")


@functools.cache
def _what_stays() -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in _DISTRIBUTIONS:
        try:
            versions[name.removesuffix("-fixed")] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    if torch.version.cuda:
        versions["cuda"] = torch.version.cuda
    hardware = {"machine": platform.machine(), "processor": _processor(), "cores": os.cpu_count()}
    if torch.cuda.is_initialized():  # not with --cpu
        hardware["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {"code": code(), "versions": versions, "hardware": hardware}


def run_facts() -> dict[str, Any]:
    """Facts about this process, plain values alone.

    Returns:
        "code" (version, and where the package is a checkout of git its commit and whether that was "clean"),
        "versions", "hardware", "threads", "peak_memory_mb" and, on a GPU, "peak_gpu_memory_mb".
    """
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    facts = {
        **_what_stays(),
        "threads": torch.get_num_threads(),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6),
    }
    if _peak_gpu_memory:
        facts["peak_gpu_memory_mb"] = round(_peak_gpu_memory / 1e6)
    return facts


def note_gpu_memory() -> None:
    """To be called in every update: fairseq forgets the peak of the GPU's memory after each of them."""
    global _peak_gpu_memory
    if torch.cuda.is_initialized():
        _peak_gpu_memory = max(_peak_gpu_memory, torch.cuda.max_memory_allocated())


@functools.cache
def code() -> dict[str, Any]:
    """Version, commit and state of the code, which are to be asked for when training starts."""
    commit, changes = _git("rev-parse", "HEAD"), _git("status", "--porcelain", "--", ".")
    known = {} if commit is None or changes is None else {"commit": commit, "clean": not changes}
    return {"version": __version__, **known}


def _git(*words: str) -> str | None:
    """What git says in the package's folder; None where there is no git or no checkout."""
    if not (_PACKAGE.parent / ".git").exists():
        return None
    command = ["git", "-C", str(_PACKAGE), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())
