"""What prepare.sh refuses before it splits and binarises, and that what it fetches is what it was."""

import hashlib
import re
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
FILES = {"tok/train.lc.norm.tok.en": b"a ball\n", "image_splits/train.txt": b"1.jpg\n"}
# Says what it was asked for, and answers with a file of the same path in the folder "served".
CURL = """echo "$@" >>"$0.calls"
while (($# > 1)); do [[ $1 != --output ]] || output=$2; shift; done
cat "$(dirname "$0")/../served/${1#*/task1/}" >"$output"
"""


@pytest.fixture
def prepare(recipes, tmp_path):
    """A copy of the recipe that knows two small files, and a curl that serves them."""
    folder, environment = recipes({"curl": CURL})
    lines = [f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in FILES.items()]
    (folder / "multi30k.sha256").write_text("".join(lines))
    for name, content in FILES.items():
        (tmp_path / "served" / name).parent.mkdir(parents=True)
        (tmp_path / "served" / name).write_bytes(content)

    def run() -> str:
        done = subprocess.run(
            ["bash", str(folder / "prepare.sh"), str(tmp_path / "raw"), str(tmp_path / "data")],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1  # two files are no data set
        return done.stdout + done.stderr.splitlines()[-1]

    return run


def test_what_is_fetched_is_of_one_commit_by_https_and_as_it_was(prepare, tmp_path):
    assert "holds no test set" in prepare()
    assert (tmp_path / "raw/text/train.lc.norm.tok.en").read_bytes() == b"a ball\n"
    assert (tmp_path / "raw/image_splits/train.txt").read_bytes() == b"1.jpg\n"
    calls = (tmp_path / "bin/curl.calls").read_text().splitlines()
    assert len(calls) == 2 and all("--proto =https" in call and "/master/" not in call for call in calls)


def test_a_file_that_differs_is_refused_and_takes_no_place(prepare, tmp_path):
    (tmp_path / "served/image_splits/train.txt").write_bytes(b"2.jpg\n")
    assert "image_splits/train.txt is not the file that it was (its SHA-256 differs)" in prepare()
    assert not (tmp_path / "raw/text").exists() and not list((tmp_path / "raw/image_splits").iterdir())


def test_the_checksums_name_text_and_image_lists_of_every_split():
    lines = (EXAMPLES / "multi30k" / "multi30k.sha256").read_text().splitlines()
    assert all(len(line.split("  ")[0]) == 64 for line in lines)
    splits = ("train", "val", "test_2016_flickr", "test_2017_flickr", "test_2017_mscoco")
    names = [f"tok/{split}.lc.norm.tok.{language}" for split in splits for language in ("en", "de", "fr")]
    assert {line.split("  ")[1] for line in lines} == {*names, *(f"image_splits/{s}.txt" for s in splits)}


@pytest.fixture
def raw(tmp_path):
    """Three sentences in each of four splits, the first of which has an image."""
    folder = tmp_path / "raw"
    for name in ("text", "image_splits", "images"):
        (folder / name).mkdir(parents=True)
    for name in ("train", "val", "test_street", "test"):
        for language in ("en", "de"):
            (folder / "text" / f"{name}.lc.norm.tok.{language}").write_text("a\nb\nc\n")
    (folder / "text" / "val.lc.norm.tok.en").write_text("a\nb\nc")  # without a last line break
    (folder / "image_splits" / "train.txt").write_bytes(b"./1.jpg \r\n2.jpg\r\n3.jpg\r\n")  # as on Windows
    (folder / "images" / "1.jpg").touch()
    return folder


def test_test_sets_of_any_name_are_taken_and_lists_of_any_line_ends(prepare, raw, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "made-from.txt").write_text("something else\n")
    output = prepare()
    assert "test is test\n" in output and "test1 is test_street\n" in output
    assert "data was prepared from other text" in output  # nothing before that is amiss


@pytest.mark.parametrize(
    "file, content, sentence",
    [
        ("text/val.lc.norm.tok.de", b"a\n\xe8\nc\n", "text/val.lc.norm.tok.de, line 2: not UTF-8"),
        ("text/val.lc.norm.tok.de", b"a\nb\rb\nc\n", "tok.de, line 2: a carriage return within the line"),
        ("text/val.lc.norm.tok.de", b"a\nb\n", "val.lc.norm.tok.en has 3 lines, but .*tok.de 2"),
        ("image_splits/train.txt", b"1.jpg\n2.jpg", "train.txt has 2 lines, but .*train.lc.norm.tok.en 3"),
        ("image_splits/train.txt", b"1.jpg\n#2\n\n", "line 2 of .*train.txt has no image name before"),
        ("image_splits/train.txt", b"4.jpg\n5.jpg\n6.jpg\n", "not one image that a list in .* names is in"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    prepare, raw, tmp_path, file, content, sentence
):
    (raw / file).write_bytes(content)
    assert re.search(sentence, prepare())
    assert not (tmp_path / "data").exists()
