"""A toy data set of sentence pairs and small pictures, and a model trained on it, made once a session."""

import fcntl
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from ikd_fairseq.data.image_packing import pack_images
from tests.integration.command_line import CHECKOUT, IKD, MODEL, OPTIMIZER, TASK, run, warm_environment

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
THINGS = {"ball": "ball", "tree": "baum", "house": "haus", "boat": "boot", "star": "stern"}
PLACES = {"here": "hier", "there": "dort", "above": "oben", "below": "unten"}
GERMAN = {"red": "rot", "green": "grün", "blue": "blau", "white": "weiß"}


def write_split(folder: Path, split: str, count: int, with_image, seed: int) -> None:
    """Sentences of 1 to 3 coloured things; a plain picture of the first colour for those in *with_image*."""
    choose = random.Random(seed)
    english, german, names = [], [], []
    for number in range(count):
        source, target = [], []
        for _ in range(choose.randint(1, 3)):
            colour, thing, place = (choose.choice(list(words)) for words in (COLOURS, THINGS, PLACES))
            source += [colour, thing, place]
            target += [THINGS[thing], GERMAN[colour], PLACES[place]]
        english.append(" ".join(source))
        german.append(" ".join(target))
        names.append(f"{source[0]}.png" if number in with_image else "")
    (folder / f"{split}.en").write_text("\n".join(english) + "\n", encoding="utf-8")
    (folder / f"{split}.de").write_text("\n".join(german) + "\n", encoding="utf-8")
    (folder / f"{split}.images.txt").write_text("\n".join(names) + "\n", encoding="utf-8")


def prepare(folder: Path, splits, image_size: int = 64, dictionary=None) -> Path:
    """Writes text and pictures of *splits* (name: count, sentences with image), binarises and packs them."""
    folder.mkdir(exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    for colour, value in COLOURS.items():
        Image.new("RGB", (70, 50), value).save(folder / "images" / f"{colour}.png")
    for seed, (split, (count, with_image)) in enumerate(splits.items()):
        write_split(folder, split, count, with_image, seed)
    prefixes = [f"--{split}pref {folder / split}" for split in splits]
    words = f"--srcdict {dictionary}" if dictionary else ""
    data = folder / "data"
    run(
        "fairseq_cli.preprocess",
        "-s en -t de --joined-dictionary --workers 1",
        f"--destdir {data}",
        words,
        *prefixes,
    )
    for split, (_, with_image) in splits.items():
        if with_image:
            pack_images(
                str(data), split, str(folder / f"{split}.images.txt"), str(folder / "images"), image_size
            )
    return data


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """The folder *name*, which *make* fills in the first process of this run that asks for it."""
    root = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # a folder of all workers
    folder, complete = root / name, root / f"{name}.complete"
    with open(root / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            complete.touch()
    return folder


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    """A data folder: 64 training pairs of which 40 have an image, 13 for validation, 39 for test."""
    splits = {"train": (64, range(40)), "valid": (13, range(0, 13, 2)), "test": (39, range(0, 39, 3))}
    return made_once(tmp_path_factory, "toy", lambda folder: prepare(folder, splits)) / "data"


@pytest.fixture(scope="session")
def text_only(toy_data, tmp_path_factory) -> Path:
    """A copy of the data folder without its images."""
    packs = shutil.ignore_patterns("*.images.*")
    return (
        made_once(
            tmp_path_factory,
            "text-only",
            lambda folder: shutil.copytree(toy_data, folder / "data", ignore=packs),
        )
        / "data"
    )


@pytest.fixture(scope="session")
def trained(toy_data, tmp_path_factory) -> SimpleNamespace:
    """An IKD model after three epochs, with everything that training left behind."""

    def train(folder: Path) -> None:
        log = run(
            "fairseq_cli.train",
            [str(toy_data)],
            TASK,
            IKD,
            OPTIMIZER,
            "--max-tokens 100 --update-freq 2 --max-epoch 3 --seed 2 --eval-bleu --eval-bleu-detok space",
            "--best-checkpoint-metric bleu --maximize-best-checkpoint-metric",
            f"--save-dir {folder} --tensorboard-logdir {folder / 'tensorboard'}",
        )
        (folder / "train.log").write_text(log, encoding="utf-8")

    folder = made_once(tmp_path_factory, "trained", train)
    log = (folder / "train.log").read_text(encoding="utf-8")
    return SimpleNamespace(folder=folder, log=log, data=toy_data, last=folder / "checkpoint_last.pt")


@pytest.fixture(scope="session")
def image_must(toy_data, tmp_path_factory) -> Path:
    """The checkpoint of a system that looks at images, at test too, after an epoch."""

    def train(folder: Path) -> None:
        run(
            "fairseq_cli.train",
            [str(toy_data)],
            TASK,
            f"--arch multimodal_transformer_tiny {MODEL} --backbone efficientnet_lite0 --image-size 64",
            OPTIMIZER,
            "--criterion translation --label-smoothing 0.1 --max-tokens 200 --max-epoch 1 --seed 3",
            f"--disable-validation --no-epoch-checkpoints --save-dir {folder}",
        )

    return made_once(tmp_path_factory, "image-must", train) / "checkpoint_last.pt"


@pytest.fixture(scope="session")
def scenes(tmp_path_factory) -> Path:
    """A data folder that the recipe made of a few drawn scenes, which all have an image."""
    examples = CHECKOUT / "examples"

    def draw(folder: Path) -> None:
        sizes = ["--train", "120", "--val", "20", "--test", "20"]
        drawing = [sys.executable, examples / "scenes" / "make_scenes.py", "--output", folder / "scenes"]
        subprocess.run([*drawing, *sizes], check=True)
        preparing = ["bash", examples / "multi30k" / "prepare.sh", folder / "scenes", folder / "data"]
        options = ["--merges", "100", "--image-size", "64", "--workers", "1"]
        subprocess.run([*preparing, *options], env=warm_environment(), check=True)

    return made_once(tmp_path_factory, "scenes", draw) / "data"
