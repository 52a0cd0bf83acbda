"""Shards are translated once each, in processes of their own, and not mixed with those of another teacher."""

import json
import os
import sys

import pytest
import torch
from fairseq.data.indexed_dataset import make_builder

from ikd_fairseq.cli import generate_shards as module
from ikd_fairseq.cli.generate_shards import Generation, differences, generate_shards, shard_path
from ikd_fairseq.distillation.distilled_folder import Split
from ikd_fairseq.errors import IkdError
from tests import toy

SENTENCES, SHARDS = 6, 3

# Stands for fairseq-generate: leaves a note that it ran, prints its share of the sentences, fails where told.
FAIRSEQ = """
import os, sys
shard, shards, notes, failing, message = int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]
open(os.path.join(notes, f"{shard}.{len(os.listdir(notes))}"), "w")
for sentence in range(shard, 6, shards):
    print(f"S-{sentence}\\tw{sentence}\\nH-{sentence}\\t-1\\tw1 ü")
    print(f"D-{sentence}\\t-1\\tw1\\nP-{sentence}\\t-1")
    if str(shard) in failing.split():
        sys.exit(message)
"""


@pytest.fixture
def split(tmp_path):
    for language in ("en", "de"):
        toy.dictionary().save(str(tmp_path / "data" / f"dict.{language}.txt"))
        builder = make_builder(str(tmp_path / "data" / f"train.en-de.{language}.bin"), "mmap", 30)
        for number in range(SENTENCES):
            builder.add_item(torch.tensor([4 + number, 2]))
        builder.finalize(str(tmp_path / "data" / f"train.en-de.{language}.idx"))
    return Split.open(str(tmp_path / "data"), "train")


@pytest.fixture
def run(split, tmp_path, monkeypatch):
    """Translates with the stand-in; returns the paths and which shards ran."""
    notes, teacher = tmp_path / "notes", tmp_path / "teacher.pt"
    notes.mkdir()
    teacher.write_bytes(b"weights")

    def run(failing="", message="it went wrong", workers=1, only_shard=None, **changes):
        monkeypatch.setattr(
            Generation,
            "command",
            lambda self, shard, cpu: [
                sys.executable,
                "-c",
                FAIRSEQ,
                str(shard),
                str(self.shards),
                str(notes),
                failing,
                message,
            ],
        )
        for note in notes.iterdir():
            note.unlink()
        options = {"beam": 2, "nbest": 2, "shards": SHARDS, **changes}
        generation = Generation(split, str(teacher), **options)
        try:
            return generate_shards(str(tmp_path / "generated"), generation, workers, True, only_shard)
        finally:
            run.ran = sorted(int(note.name.split(".")[0]) for note in notes.iterdir())

    return run


@pytest.mark.parametrize("workers", [1, 2])
def test_every_shard_is_kept_without_the_lines_that_repeat_it(run, workers):
    paths = run(workers=workers)
    assert run.ran == [0, 1, 2]
    for shard, path in enumerate(paths):
        with open(path, encoding="utf-8") as stream:
            assert stream.read() == "".join(
                f"S-{number}\tw{number}\nH-{number}\t-1\tw1 ü\n" for number in (shard, shard + SHARDS)
            )
    assert sorted(os.listdir(os.path.dirname(paths[0]))) == sorted(
        ["made-from.json", *(os.path.basename(path) for path in paths)]
    )


def test_after_a_failure_only_what_is_missing_is_translated(run, tmp_path):
    with pytest.raises(IkdError, match=r"failed in shard 1 \(it went wrong\).*shard-1-of-3.log"):
        run(failing="1")
    assert run.ran == [0, 1]
    assert [path.name for path in (tmp_path / "generated").glob("*.txt")] == ["shard-0-of-3.txt"]
    paths = run()
    assert run.ran == [1, 2] and all(map(os.path.exists, paths))
    assert len(os.listdir(tmp_path / "generated")) == SHARDS + 1  # neither log nor temporary file
    run()
    assert run.ran == []


def test_a_failing_shard_ends_those_beside_it(split, tmp_path, monkeypatch):
    survived = tmp_path / "survived"
    slow = f"import time; time.sleep(20); open({str(survived)!r}, 'w')"
    failing = "import sys; sys.exit(1)"
    monkeypatch.setattr(module, "_failure", lambda shard, *_: f"shard {shard}")
    (tmp_path / "teacher.pt").write_bytes(b"weights")
    generation = Generation(split, str(tmp_path / "teacher.pt"), 2, 2, 2)
    monkeypatch.setattr(
        Generation, "command", lambda self, shard, cpu: [sys.executable, "-c", slow if shard else failing]
    )
    with pytest.raises(IkdError, match="shard 0"):
        generate_shards(str(tmp_path / "generated"), generation, workers=2)
    assert not survived.exists() and not list((tmp_path / "generated").glob("*.t*"))


def test_one_machine_can_do_one_shard(run, tmp_path):
    paths = run(only_shard=2)
    assert run.ran == [2] and [os.path.exists(path) for path in paths] == [False, False, True]
    run()
    assert run.ran == [0, 1]


@pytest.mark.parametrize(
    "change, words",
    [
        ({"beam": 5}, r"beam \(2, now 5\)"),
        ({"nbest": 1}, r"nbest \(2, now 1\)"),
        ({"shards": 2}, r"shards \(3, now 2\)"),
        ({"image_free": True}, r"image-free \(False, now True\)"),
        ({"options": ("--batch-size", "7")}, "options"),  # it decides which sentences are in a shard
    ],
)
def test_shards_of_other_options_are_refused(run, change, words):
    run()
    with pytest.raises(IkdError, match=f"made from other {words}: "):
        run(**change)
    assert run.ran == []


def test_shards_of_another_teacher_or_other_data_are_refused(run, split, tmp_path):
    run(only_shard=0)
    (tmp_path / "teacher.pt").write_bytes(b"other weights")
    with pytest.raises(IkdError, match="made from other teacher: "):
        run()
    (tmp_path / "teacher.pt").write_bytes(b"weights")
    toy.dictionary(19).save(os.path.join(split.folder, "dict.de.txt"))
    with pytest.raises(IkdError, match="made from other data: "):
        run()
    os.remove(tmp_path / "generated" / "made-from.json")
    with pytest.raises(IkdError, match="holds shards, but not made-from.json"):
        run()


def test_a_damaged_record_is_named(run, tmp_path):
    run()
    for content in ("{", "[]"):
        (tmp_path / "generated" / "made-from.json").write_text(content)
        with pytest.raises(IkdError, match="made-from.json"):
            run()


@pytest.mark.parametrize(
    "message, sentence",
    [
        (
            "Exception: Size of sample #12 is invalid (=(1030, 20)) since max_positions=(1024, 1024), "
            "skip this example with --skip-invalid-size-inputs-valid-test",
            r"sentence 12 \(from 0\) of .*train is longer .*\(1024, 1024\)",
        ),
        ("ikd_fairseq: error: train.images.npy is missing", "^train.images.npy is missing$"),
        ("", "status 1, perhaps for lack of memory"),
    ],
)
def test_the_reason_of_a_failure_is_one_sentence(run, message, sentence):
    with pytest.raises(IkdError, match=sentence):
        run(failing="0", message=message)


def test_the_command_translates_every_sentence_of_its_share_in_subwords(split):
    command = Generation(split, "a.pt:b.pt", 4, 3, 8, True, ("--max-tokens", "99")).command(2, cpu=True)
    words = " ".join(command)
    for part in (
        f"{split.folder} ",
        "--gen-subset train",
        "--task multimodal_translation",
        "--path a.pt:b.pt",
        "--beam 4 --nbest 3",
        "--distributed-world-size 8 --distributed-rank 2",
        "--image-free",
        "--cpu",
        "--max-tokens 99",
        "--source-lang en --target-lang de",
    ):
        assert part in words
    assert "--remove-bpe" not in words and "--skip" not in words


@pytest.mark.parametrize(
    "option",
    [
        "--remove-bpe",
        "--remove-bpe=sentencepiece",
        "--nbest",
        "--path",
        "--skip-invalid-size-inputs-valid-test",
    ],
)
def test_options_that_would_lose_text_or_contradict_are_not_passed_on(split, option):
    with pytest.raises(IkdError, match=f"{option.partition('=')[0]} cannot be passed on"):
        Generation(split, "a.pt", 2, 2, 1, options=("--max-tokens", "99", option)).verify()


def test_a_teacher_with_another_dictionary_is_refused(split, tmp_path):
    def teacher(rows):
        table = torch.zeros(rows, 2)
        state = {
            "model": {"encoder.embed_tokens.weight": table, "decoder.embed_tokens.weight": table.clone()},
            "cfg": {"model": {"_name": "transformer"}, "task": {"_name": "translation"}},
            "args": None,
            "optimizer_history": [{}],
            "extra_state": {},
        }
        torch.save(state, tmp_path / f"{rows}.pt")
        return str(tmp_path / f"{rows}.pt")

    words = len(toy.dictionary())
    Generation(split, teacher(words), 2, 2, 1).verify()
    with pytest.raises(IkdError, match=rf"{words + 1}.*{words}"):
        Generation(split, f"{teacher(words)}:{teacher(words + 1)}", 2, 2, 1).verify()
    with pytest.raises(IkdError, match="nowhere.pt"):
        Generation(split, "nowhere.pt", 2, 2, 1).verify()


def test_the_record_is_readable_and_differences_are_put_in_words(run, tmp_path):
    run()
    record = json.loads((tmp_path / "generated" / "made-from.json").read_text())
    assert record["beam"] == 2 and record["languages"] == ["en", "de"] and len(record["teacher"][0]) == 64
    assert differences(record, record) == ""
    then, now = {"a_b": 1, "c": [1], "extra": 0}, {"a_b": 2, "c": [2], "d": "x"}
    assert differences(then, now) == "a-b (1, now 2), c, d"
    assert shard_path("folder", 0, 2) == os.path.join("folder", "shard-0-of-2.txt")
