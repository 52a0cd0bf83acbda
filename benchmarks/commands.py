"""The command lines of fairseq-train that are held against each other."""

import shlex
import subprocess
from pathlib import Path

from workers import HERE, ROOT

# The protocol of examples/multi30k/train.sh, one batch an update.
PROTOCOL = """
  --label-smoothing 0.1 --optimizer adam --adam-betas '(0.9, 0.98)'
  --lr 0.005 --lr-scheduler inverse_sqrt --warmup-init-lr 1e-7 --warmup-updates 2000
  --max-tokens 4096 --seed 1 --num-workers 0 --cpu --no-save --disable-validation --log-format none
"""

# Transformer-Tiny, spelled out in fairseq's own options.
TINY = " ".join(
    f"--{part}-embed-dim 128 --{part}-ffn-embed-dim 256 --{part}-layers 4 --{part}-attention-heads 4 "
    f"--{part}-normalize-before"
    for part in ("encoder", "decoder")
)


def stock(data: Path) -> list[str]:
    """fairseq without the plugin: its ``transformer``, its criterion, its task."""
    model = f"--arch transformer {TINY} --dropout 0.3 --share-all-embeddings"
    return shlex.split(
        f"{data} --task translation {model} --criterion label_smoothed_cross_entropy {PROTOCOL}"
    )


def image_size(data: Path) -> int:
    """In pixels, of the images packed in *data*."""
    from ikd_fairseq.data.image_pack import ImagePack

    return ImagePack.read_manifest(str(data / "train"))["image_size"]


def images_of(data: Path) -> str:
    """The options of every system that uses images: the CNN whose weights need no download."""
    return f"--backbone efficientnet_lite0 --image-size {image_size(data)}"


def ours(data: Path, system: str, options: str = "", root: Path | None = None) -> list[str]:
    """A system of the plugin, by what ``ikd-systems`` says of it: that of the checkout *root*, if given."""
    from ikd_fairseq.experiments.systems import get_system

    known = get_system(system)
    words = list(known.train_options)
    if root:
        words = subprocess.check_output([root / ".venv/bin/ikd-systems", system], text=True).split()
    folder = (root or ROOT) / "ikd_fairseq"
    start = [str(data), "--user-dir", str(folder), "--task", "multimodal_translation"]
    images = "" if known.images == "none" else images_of(data)
    return [*start, *words, *shlex.split(f"{images} {PROTOCOL} {options}")]


def naive_ikd(data: Path) -> list[str]:
    """The naive version that this folder keeps."""
    start = [str(data), "--user-dir", str(HERE / "naive_ikd"), "--task", "multimodal_translation"]
    model = f"--arch naive_ikd_tiny --criterion naive_distillation --use-old-adam {images_of(data)}"
    return [*start, *shlex.split(f"{model} {PROTOCOL}")]


def one_of_two(command: list[str], rank: int, port: int) -> list[str]:
    """*command* as one of two processes on one machine that share each update."""
    processes = f"""
      --distributed-init-method tcp://127.0.0.1:{port} --distributed-world-size 2 --distributed-rank {rank}
      --distributed-no-spawn --distributed-backend gloo --ddp-backend legacy_ddp
    """
    return [*command, *shlex.split(processes)]


# Leaves glibc's allocator as it is, as a process without the plugin does.
PLAIN_ALLOCATOR = {"IKD_KEEP_MEMORY": "0"}
