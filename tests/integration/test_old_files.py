"""Files that an earlier version wrote load and give what they gave then: tests/data/golden/README.md."""

import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from fairseq import options
from fairseq.data import Dictionary
from fairseq_cli import generate as fairseq_generate

from ikd_fairseq.cli import average_checkpoints, export, prune
from ikd_fairseq.data.feature_pack import FeaturePack
from ikd_fairseq.data.image_pack import ImagePack
from ikd_fairseq.distillation.teacher_cache import TeacherCache
from ikd_fairseq.modules.image_index import load_image_index
from tests.data.make_golden import COLOURS, DECODED, GENERATION, SIZES, SYSTEMS, TRAINING
from tests.integration.command_line import CHECKOUT, USER_DIR, arguments, hypotheses, run

GOLDEN = CHECKOUT / "tests" / "data" / "golden"
EXPECTED = json.loads((GOLDEN / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def old(tmp_path_factory) -> Path:
    """The folder of the unpacked files."""
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(GOLDEN / "files.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def generate(old, capsys):
    """Hypotheses of a checkpoint with their scores, by sentence as text."""

    def translate(checkpoint):
        line = arguments([str(old / "data")], f"--user-dir {USER_DIR} --path {checkpoint}", GENERATION)
        capsys.readouterr()
        fairseq_generate.main(options.parse_args_and_arch(options.get_generation_parser(), line))
        found = hypotheses(capsys.readouterr().out)
        return {str(number): [text, score] for number, [(score, text)] in found.items()}

    return translate


def assert_same_translations(found: dict, checkpoint: str) -> None:
    expected = EXPECTED["translations"][checkpoint]
    assert {number: text for number, (text, _) in found.items()} == {n: t for n, (t, _) in expected.items()}
    for number, (_, score) in expected.items():
        assert found[number][1] == pytest.approx(score, abs=1e-4), (checkpoint, number)


def assert_same_tensors(found: Path, expected: Path) -> None:
    found, expected = (torch.load(path, weights_only=False)["model"] for path in (found, expected))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


@pytest.mark.parametrize("checkpoint", DECODED)
def test_checkpoint_translates_as_it_did(old, generate, checkpoint):
    assert_same_translations(generate(old / f"{checkpoint}.pt"), checkpoint)


def test_commands_make_of_a_checkpoint_what_they_made(old, generate, tmp_path):
    def make(command, *line):
        assert not command.main(list(map(str, line)))

    make(export, old / "ikd.pt", tmp_path / "exported.pt")
    assert_same_tensors(tmp_path / "exported.pt", old / "exported.pt")
    make(prune, old / "exported.pt", tmp_path / "pruned.pt", "--sparsity", 0.3)
    assert_same_tensors(tmp_path / "pruned.pt", old / "pruned.pt")
    make(prune, old / "packed.pt", tmp_path / "unpacked.pt", "--unpack")
    assert_same_tensors(tmp_path / "unpacked.pt", old / "pruned.pt")
    same = shutil.copy(old / "hallucination.pt", tmp_path / "same.pt")
    make(average_checkpoints, old / "hallucination.pt", same, "--output", tmp_path / "average.pt")
    assert_same_translations(generate(tmp_path / "average.pt"), "hallucination")


# What was so before there were the options; the preset has had other values since.
AS_BEFORE = "--region-bias none --generator-norm channel --student-kernels odd"


def go_on(old, tmp_path, *options, **how) -> str:
    """Trains ``ikd.pt`` for an update. Batches are composed anew every epoch, as the old code did then."""
    return run(
        "fairseq_cli.train",
        [str(old / "data")],
        f"--user-dir {USER_DIR}",
        SIZES,
        SYSTEMS["ikd"],
        TRAINING,
        f"--max-update 201 --restore-file {old / 'ikd.pt'} --save-dir {tmp_path} --no-save",
        "--update-epoch-batch-itr True",
        *options,
        **how,
    )


def test_training_that_goes_on_with_todays_preset_is_told_what_to_give(old, tmp_path):
    output = go_on(old, tmp_path, fails=True)
    assert "ikd.pt: the checkpoint is not of a model with --region-bias learned: give none" in output


def test_training_goes_on_from_an_old_checkpoint(old, tmp_path):
    output = go_on(old, tmp_path, AS_BEFORE)
    (line,) = [line for line in output.splitlines() if '"num_updates": "201"' in line and '"loss"' in line]
    found = json.loads(line[line.index("{") :])
    for name in ("nll_loss", "kd_irm", "lr", "bsz"):
        expected = float(EXPECTED["next_update"][name])
        assert float(found[name]) == pytest.approx(expected, rel=1e-4, abs=2e-3), (
            name
        )  # 3 decimals are logged


def test_image_pack(old):
    for split, sentences in (("train", 48), ("test", 8)):
        pack = ImagePack.open(str(old / "data" / split))
        assert len(pack) == sentences and pack.coverage == sentences * 3 // 4
        pack.verify()
        for sentence in range(sentences):
            assert (pack[sentence] is None) == (sentence % 4 == 0)
            assert sentence % 4 == 0 or tuple(pack[sentence][0, 0]) in COLOURS.values()


def test_feature_pack(old):
    prefix = str(old / "data" / "test")
    pack = FeaturePack.open(prefix, "cnn")
    stored = np.load(prefix + ".features.cnn.npy")
    rows = np.load(prefix + ".images.index.npy")
    assert (len(pack), pack.regions, pack.channels) == (8, 4, 320) and stored.dtype == np.float16
    for sentence, row in enumerate(rows):
        assert (pack[sentence] is None) if row < 0 else np.array_equal(pack[sentence], stored[row])


def test_teacher_cache(old):
    prefix = str(old / "data" / "train")
    cache = TeacherCache.open(prefix, "own")
    cache.check_text(str(old / "data"), "train")
    cache.check_teachers([str(old / "gated_fusion.pt")])
    offsets, ids, probs = (
        np.load(f"{prefix}.teacher.own.{part}.npy") for part in ("offsets", "ids", "probs")
    )
    assert len(cache) == 48 and cache.top_k == 3
    for sentence in range(48):
        found_ids, found_probs = cache[sentence]
        of_sentence = slice(offsets[sentence], offsets[sentence + 1])
        np.testing.assert_array_equal(found_ids, ids[of_sentence])
        np.testing.assert_array_equal(found_probs, probs[of_sentence])


@pytest.mark.parametrize("kind", ["topic", "dense"])
def test_image_index_finds_the_same_images(old, kind):
    words = Dictionary.load(str(old / "data" / "dict.en.txt"))
    lines = [words.encode_line(line, add_if_not_exist=False).long() for line in EXPECTED["queries"]]
    index = load_image_index(str(old / "data" / f"image-index.{kind}.pt"), kind, words)
    rows, missing = index.retrieve(torch.stack(lines), 3)
    assert [rows.tolist(), missing.tolist()] == EXPECTED["retrieved"][kind]
