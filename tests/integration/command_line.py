"""Runs fairseq's commands as a user does, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
USER_DIR = str(CHECKOUT / "ikd_fairseq")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}

# A model of a few thousand weights; the rest is what a user would type.
MODEL = """--encoder-embed-dim 16 --encoder-ffn-embed-dim 32 --encoder-layers 1 --encoder-attention-heads 2
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 32 --decoder-layers 1 --decoder-attention-heads 2"""
IKD = f"""--arch ikd_transformer_tiny {MODEL} --backbone efficientnet_lite0 --image-size 64 --unpool depthwise
    --criterion inversion_distillation --label-smoothing 0.1"""
OPTIMIZER = """--optimizer adam --adam-betas (0.9,0.98) --lr 0.005 --lr-scheduler inverse_sqrt --warmup-updates 4
    --log-format json --log-interval 1 --num-workers 0 --cpu"""
TASK = f"--user-dir {USER_DIR} --task multimodal_translation"


def arguments(*parts) -> list[str]:
    """Splits at white space; a path or a value with spaces is given as a list."""
    return [word for part in parts for word in (part if isinstance(part, list) else str(part).split())]


def start(command: str, *parts, **options) -> subprocess.Popen:
    """Starts ``python -m command``, e.g. ``fairseq_cli.train``, with both outputs in one pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", command, *arguments(*parts)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=ENVIRONMENT,
        cwd=CHECKOUT,
        **options,
    )


def run(command: str, *parts, fails: bool = False) -> str:
    """Runs a command to its end and returns what it printed; *fails* says what its status must be."""
    process = start(command, *parts)
    output, _ = process.communicate(timeout=600)
    assert (process.returncode != 0) == fails, output[-4000:]
    return output


def refusal(output: str) -> str:
    """The one sentence that a refused command printed, which must come without a traceback."""
    assert "Traceback" not in output, output[-4000:]
    (line,) = [line for line in output.splitlines() if line.startswith("ikd_fairseq: error: ")]
    return line


def translations(output: str, kind: str = "H") -> dict[int, str]:
    """Hypotheses (``H``) or detokenised ones (``D``) of fairseq-generate or fairseq-interactive, by sentence."""
    found = {}
    for line in output.splitlines():
        if line.startswith(f"{kind}-"):
            tag, _, text = line.split("\t")
            assert int(tag[2:]) not in found
            found[int(tag[2:])] = text
    return found
