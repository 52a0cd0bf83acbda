"""Shards are translated once each, by a teacher loaded once, and not mixed with those of another teacher."""

import json
import math
import os

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import make_builder
from fairseq.sequence_generator import SequenceGenerator

from ikd_fairseq.data.feature_pack import BY_SENTENCE, write_features
from ikd_fairseq.distillation.generation import Generation, Teacher, generate_shards, shard_path
from ikd_fairseq.distillation.text_split import Split
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.locks import claim
from ikd_fairseq.io.manifests import differences, text_fingerprint
from ikd_fairseq.tasks.open_task import open_task
from tests import toy
from tests.saved_checkpoints import toy_state

SENTENCES, SHARDS = 6, 3
WORDS = toy.dictionary()


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
def run(split, tmp_path):
    """Translates with a stand-in for the teacher; returns the paths and notes which shards ran."""
    teacher_path = tmp_path / "teacher.pt"
    teacher_path.write_bytes(b"weights")

    class StandIn:
        def __init__(self, shards, failing):
            self.shards, self.failing = shards, failing

        def translate(self, shard):
            run.ran.append(shard)
            for sentence in range(shard, SENTENCES, self.shards):
                yield sentence, [(-math.log(2), "w1 ü")]
                if shard == self.failing:
                    raise KeyboardInterrupt

    def run(failing=None, only_shard=None, **changes):
        run.ran = []
        generation = Generation(
            split, [str(teacher_path)], **{"beam": 2, "nbest": 2, "shards": SHARDS, **changes}
        )

        def open_teacher():
            run.loaded = True
            return StandIn(generation.shards, failing)

        run.loaded = False
        return generate_shards(str(tmp_path / "generated"), generation, open_teacher, only_shard)

    return run


def test_every_shard_is_kept_in_the_format_of_fairseq_generate(run, split):
    paths = run()
    assert run.ran == [0, 1, 2]
    for shard, path in enumerate(paths):
        with open(path, encoding="utf-8") as stream:
            assert stream.read() == f"translations of {split.prefix}\n" + "".join(
                f"S-{number}\tw{number}\nT-{number}\tw{number}\nH-{number}\t-1.0\tw1 ü\n"
                for number in (shard, shard + SHARDS)
            )
    assert sorted(os.listdir(os.path.dirname(paths[0]))) == sorted(
        ["made-from.json", *(os.path.basename(path) for path in paths)]
    )


def test_after_an_interruption_only_what_is_missing_is_translated(run, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(failing=1)
    assert run.ran == [0, 1]
    assert sorted(os.listdir(tmp_path / "generated")) == ["made-from.json", "shard-0-of-3.txt"]
    paths = run()
    assert run.ran == [1, 2] and all(map(os.path.exists, paths))
    assert len(os.listdir(tmp_path / "generated")) == SHARDS + 1  # no temporary file
    run()
    assert run.ran == [] and not run.loaded


def test_a_shard_that_another_process_translates_is_refused_before_the_teacher_is_loaded(run, tmp_path):
    paths = run(only_shard=0)
    with claim(paths[1]):
        child = os.fork()
        if child == 0:
            try:
                run()
            except IkdError as error:
                told = "shard-1-of-3.txt is being written by process" in str(error)
                os._exit(0 if told and not run.loaded else 1)
            os._exit(2)
        assert os.waitpid(child, 0)[1] == 0
        run(only_shard=2)
        assert run.ran == [2]


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
        ({"image_features": "cnn"}, r"image-features \(None, now cnn\)"),
        ({"options": ("--lenpen", "2")}, "options"),
    ],
)
def test_shards_of_other_options_are_refused(run, change, words):
    run()
    with pytest.raises(IkdError, match=f"made from other {words}: "):
        run(**change)
    assert run.ran == []


def test_shards_of_features_do_not_meet_others(run, split):
    text = text_fingerprint(split.folder, "train")

    def write(value):
        features = np.full((SENTENCES, 1, 2), value, np.float16)
        write_features(split.prefix, "cnn", features.shape, [features], {"rows": BY_SENTENCE, "text": text})

    write(1)
    run(only_shard=0, image_features="cnn")
    with pytest.raises(IkdError, match="image-features: give what it was made from"):
        run()
    write(2)
    with pytest.raises(IkdError, match="made from other data: "):
        run(image_features="cnn")


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


def save_teacher(path, seed, positions=32):
    """A random model, as fairseq saves one."""
    torch.manual_seed(seed)
    limits = {"max_source_positions": positions, "max_target_positions": positions}
    model = toy.ikd_model(**limits)
    torch.manual_seed(seed)
    for parameter in model.parameters():
        parameter.data.add_(torch.randn_like(parameter))
    settings = {**toy.SIZES, **limits, "unpool": "depthwise", "_name": "ikd_transformer", "no_student": False}
    torch.save(toy_state(model.state_dict(), model=settings, task={"_name": "multimodal_translation"}), path)
    return model.eval()


def test_an_ensemble_translates_its_share_as_fairseqs_search_does(split, tmp_path):
    paths = [str(tmp_path / f"{seed}.pt") for seed in (1, 2)]
    models = [save_teacher(path, seed) for seed, path in enumerate(paths, start=1)]
    options = ("--max-len-b", "7", "--batch-size", "2")
    generation = Generation(split, paths, beam=3, nbest=2, shards=2, options=options)
    teacher = Teacher(open_task(split.folder), generation, cpu=True)
    found = {sentence: hypotheses for shard in (0, 1) for sentence, hypotheses in teacher.translate(shard)}
    assert sorted(found) == list(range(SENTENCES))
    assert [sentence for sentence, _ in teacher.translate(1)] == [1, 3, 5]
    search = SequenceGenerator(models, WORDS, beam_size=3, max_len_b=7)
    for sentence in range(SENTENCES):
        source = split.token_ids("en")[sentence][None]
        net_input = {"src_tokens": source, "src_lengths": torch.tensor([source.size(1)])}
        (expected,) = search.generate(models, {"net_input": net_input})
        assert [text for _, text in found[sentence]] == [WORDS.string(one["tokens"]) for one in expected[:2]]
        scores = [score for score, _ in found[sentence]]
        assert scores == pytest.approx([float(one["score"]) for one in expected[:2]], rel=1e-4)


def test_a_sentence_that_is_too_long_is_named_before_anything_is_translated(split, tmp_path):
    save_teacher(tmp_path / "short.pt", 1, positions=1)
    generation = Generation(split, [str(tmp_path / "short.pt")], beam=2, nbest=1, shards=1)
    with pytest.raises(IkdError, match="sentence 0 has 2 tokens, more than the 1 positions of the model"):
        Teacher(open_task(split.folder), generation, cpu=True)


@pytest.mark.parametrize(
    "option",
    [
        "--remove-bpe",
        "--remove-bpe=sentencepiece",
        "--nbest",
        "--path",
        "--skip-invalid-size-inputs-valid-test",
        "--replace-unk",
        "--prefix-size",
    ],
)
def test_options_that_would_lose_text_or_contradict_are_not_passed_on(split, option):
    with pytest.raises(IkdError, match=f"{option.partition('=')[0]} cannot be passed on"):
        Generation(split, ["a.pt"], 2, 2, 1, options=("--max-tokens", "99", option)).verify()


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
    Generation(split, [teacher(words)], 2, 2, 1).verify()
    with pytest.raises(IkdError, match=rf"{words + 1}.*{words}"):
        Generation(split, [teacher(words), teacher(words + 1)], 2, 2, 1).verify()
    with pytest.raises(IkdError, match="nowhere.pt"):
        Generation(split, ["nowhere.pt"], 2, 2, 1).verify()


def test_the_record_is_readable_and_differences_are_put_in_words(run, tmp_path):
    run()
    record = json.loads((tmp_path / "generated" / "made-from.json").read_text())
    assert record["beam"] == 2 and record["languages"] == ["en", "de"] and len(record["teacher"][0]) == 64
    assert differences(record, record) == ""
    then, now = {"a_b": 1, "c": [1], "extra": 0}, {"a_b": 2, "c": [2], "d": "x"}
    assert differences(then, now) == "a-b (1, now 2), c, d"
    assert shard_path("folder", 0, 2) == os.path.join("folder", "shard-0-of-2.txt")
