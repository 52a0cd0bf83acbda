"""Masked text is prepared like the text that it was made from: nothing but the source differs."""

import os
import subprocess
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from PIL import Image

from ikd_fairseq.cli.analyse import main as analyse
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.data.image_packing import pack_images
from tests.integration.command_line import warm_environment
from tests.integration.conftest import COLOURS, write_split

pytest.importorskip("matplotlib")

PREPARE = Path(__file__).resolve().parents[2] / "examples" / "multi30k" / "prepare.sh"
SPLITS = {"train": 30, "val": 6, "test": 6}


def prepare(*arguments) -> None:
    done = subprocess.run(
        ["bash", str(PREPARE), *map(str, arguments), "--workers", "1"],
        env=warm_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def sentences(data: Path, split: str, language: str):
    words = Dictionary.load(str(data / f"dict.{language}.txt"))
    ids = data_utils.load_indexed_dataset(str(data / f"{split}.en-de.{language}"))
    return [words.string(ids[number]).replace("@@ ", "") for number in range(len(ids))]


@pytest.fixture
def folder(tmp_path):
    """Coloured things in the layout that prepare.sh takes; its pictures are packed without its help."""
    folder = tmp_path / "folder"
    (folder / "text").mkdir(parents=True)
    for seed, (split, count) in enumerate(SPLITS.items()):
        write_split(tmp_path, split, count, range(count), seed)
        for language in ("en", "de"):
            (tmp_path / f"{split}.{language}").rename(folder / "text" / f"{split}.lc.norm.tok.{language}")
    return folder


def test_masked_text_is_prepared_with_the_words_and_images_of_the_original(folder, tmp_path):
    data, masked_folder, masked = tmp_path / "data", tmp_path / "masked", tmp_path / "data-masked"
    prepare(folder, data, "--merges", 40)
    for colour, value in COLOURS.items():
        Image.new("RGB", (8, 8), value).save(tmp_path / f"{colour}.png")
    pack_images(str(data), "train", str(tmp_path / "train.images.txt"), str(tmp_path), image_size=8)

    arguments = ["degrade", "--folder", folder, "--output", masked_folder, "--mask", "colour"]
    assert not analyse(list(map(str, arguments)))
    prepare(masked_folder, masked, "--like", data, "--keep", "[U]")

    original = [line.split() for line in sentences(data, "train", "en")]
    expected = [" ".join("[U]" if word in COLOURS else word for word in line) for line in original]
    assert sentences(masked, "train", "en") == expected and "[U]" in expected[0]
    words, masked_words = (Dictionary.load(str(made / "dict.en.txt")) for made in (data, masked))
    assert masked_words.symbols == [*words.symbols, "[U]"]
    for name in ("code", "train.en-de.de.bin", "valid.en-de.de.idx", "reference/test.de"):
        assert (masked / name).read_bytes() == (data / name).read_bytes(), name
    pack = ImagePack.open(str(masked / "train"))
    pack.check_text(str(masked), "train")
    assert os.path.samefile(masked / "train.images.npy", data / "train.images.npy")
