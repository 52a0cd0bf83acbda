"""Teacher caches: every token of every sentence gets what its teachers say, in the text's order."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.data.indexed_dataset import MMapIndexedDatasetBuilder

from ikd_fairseq.cli.cache_teacher import main
from ikd_fairseq.distillation.teacher_answers import cache_teacher
from ikd_fairseq.distillation.teacher_cache import TeacherCache
from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.open_task import open_task
from tests import toy
from tests.saved_checkpoints import toy_state

SENTENCES = [([1, 2, 3], [3, 2, 1, 1]), ([4], [5, 4]), ([6, 7], [6]), ([7, 8, 9, 10], [9, 8, 7, 6, 5])]


def save_teacher(path, seed, positions=9):
    """A random model, as fairseq saves one."""
    limits = {"max_source_positions": positions, "max_target_positions": positions}
    model = toy.text_model(seed, **limits)
    settings = {"_name": "transformer_mmt", **toy.TEXT_SIZES, **limits}
    torch.save(toy_state(model.state_dict(), model=settings, task={"_name": "multimodal_translation"}), path)


@pytest.fixture
def data(tmp_path):
    """A data folder of four sentence pairs, and two teachers ``1.pt`` and ``2.pt`` beside it."""
    folder = tmp_path / "data"
    folder.mkdir()
    words = toy.dictionary()
    for side, language in enumerate(("en", "de")):
        words.save(str(folder / f"dict.{language}.txt"))
        path = str(folder / f"train.en-de.{language}")
        builder = MMapIndexedDatasetBuilder(path + ".bin")
        for pair in SENTENCES:
            builder.add_item(toy.tokens(pair[side])[0])
        builder.finalize(path + ".idx")
    for seed in (1, 2):
        save_teacher(tmp_path / f"{seed}.pt", seed)
    return SimpleNamespace(folder=str(folder), teachers=[str(tmp_path / f"{seed}.pt") for seed in (1, 2)])


def test_answers_are_the_teachers_mean_one_sentence_at_a_time(data):
    cache = cache_teacher(open_task(data.folder), "train", data.teachers, "own", top_k=5, max_tokens=14)
    task = open_task(data.folder)
    random = torch.get_rng_state()
    models = [model.eval() for model in task.load_teachers(data.teachers)]
    assert not task.models and torch.equal(torch.get_rng_state(), random)
    masses = []
    for sentence, (source, target) in enumerate(SENTENCES):
        net_input = toy.batch(toy.tokens(source), toy.tokens(target))["net_input"]
        with torch.no_grad():
            mean = sum(model(**net_input)[0].softmax(-1)[0] for model in models) / 2
        ids, probs = cache[sentence]
        assert ids.shape == (len(target) + 1, 5)
        np.testing.assert_allclose(probs, mean.topk(5).values.numpy(), rtol=2e-3)
        np.testing.assert_array_equal(ids, mean.topk(5).indices.numpy())
        masses += mean.topk(5).values.sum(-1).tolist()
    assert cache.manifest["covered_mass"] == pytest.approx(np.mean(masses), rel=1e-3)
    assert [teacher["file"] for teacher in cache.manifest["teachers"]] == data.teachers
    cache.check_text(data.folder, "train")
    cache.check_teachers(data.teachers)


def test_command_writes_what_the_function_does(data):
    options = ["--teacher-path", data.teachers[0], "--name", "own", "--top-k", "3", "--device", "cpu"]
    assert not main([data.folder, *options])
    cache = TeacherCache.open(f"{data.folder}/train", "own")
    assert cache.top_k == 3 and len(cache) == 4
    assert cache.manifest["tokens"] == sum(len(target) + 1 for _, target in SENTENCES)


def test_sentences_too_long_for_the_teachers_are_left_out_and_said_so(data, caplog):
    for seed, path in enumerate(data.teachers, start=1):
        save_teacher(path, seed, positions=5)
    caplog.set_level("WARNING")
    cache = cache_teacher(open_task(data.folder), "train", data.teachers, "own", top_k=2)
    assert np.diff(cache.offsets).tolist() == [5, 3, 2, 0]
    assert "1 sentences (such as 3, from 0) are longer than" in caplog.text


@pytest.mark.parametrize(
    "options, message",
    [
        ({"top_k": 25}, "--top-k 25: the target dictionary has 24 words"),
        ({"max_tokens": 5}, "--max-tokens 5: sentence 3 alone has 6"),
        ({"name": "a/b"}, "--name 'a/b'"),
        ({"split": "train9"}, r"no train9\.\*\.idx"),
        ({"teacher_paths": ["/nowhere.pt"]}, "teacher /nowhere.pt: there is no such file"),
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(data, options, message):
    arguments = {
        "task": open_task(data.folder),
        "split": "train",
        "teacher_paths": data.teachers,
        "name": "own",
    }
    with pytest.raises(IkdError, match=message):
        cache_teacher(**{**arguments, **options})
    assert not TeacherCache.exists(f"{data.folder}/train", "own")


def test_the_command_takes_one_folder_at_a_time(data, capsys):
    path = f"{data.folder}:{data.folder}"
    assert main([path, "--teacher-path", data.teachers[0], "--name", "own"]) == 1
    assert f"{path} is no folder: give one" in capsys.readouterr().err
