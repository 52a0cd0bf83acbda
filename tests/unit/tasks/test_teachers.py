"""What the task does for a criterion with teachers: images and cached answers, nothing to the student."""

from types import SimpleNamespace

import numpy as np
import pytest

from ikd_fairseq.contracts import CriterionContract, ModelContract
from ikd_fairseq.distillation.taught_pair_dataset import TaughtPairDataset
from ikd_fairseq.distillation.teacher_cache import TeacherCacheWriter
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy

TEXT_ONLY = toy.kept(ModelContract)
TEXT_INPUTS = {"src_tokens", "src_lengths", "prev_output_tokens"}


@pytest.fixture
def data(tmp_path, write_text_split):
    """train: 6 sentences, train1: 2, valid: 3; no images."""
    for split, sentences in (("train", 6), ("train1", 2), ("valid", 3)):
        write_text_split(tmp_path, split, sentences)
    for language in ("en", "de"):
        toy.dictionary().save(str(tmp_path / f"dict.{language}.txt"))
    return tmp_path


def task_of(data, teachers=(), cache=None, **options):
    cfg = MultimodalTranslationConfig(
        data=str(data), train_subset="train", dataset_impl="mmap", required_seq_len_multiple=1, **options
    )
    task = MultimodalTranslationTask.setup_task(cfg)
    task.models, task.teachers = [TEXT_ONLY], list(teachers)
    task.criterion = toy.kept(CriterionContract, teacher_cache=cache)
    return task


def cache(data, split, sentences, first, vocabulary=24):
    """Sentence i of *split* is answered with the word *first* + i at its three tokens."""
    with TeacherCacheWriter(str(data / split), "own", np.full(sentences, 3), 1, vocabulary) as writer:
        for sentence in range(sentences):
            writer.write(sentence, np.full((3, 1), first + sentence), np.ones((3, 1), np.float16))
        writer.commit({"teachers": [], "text": text_fingerprint(str(data), split)})


def test_images_are_asked_for_if_a_teacher_needs_them_and_only_then(data):
    must = toy.kept(ModelContract, requires_images=True, image_size=64)
    with pytest.raises(IkdError, match=r"train\.images\.npy is missing, and the image-must teacher"):
        task_of(data, [TEXT_ONLY, must]).load_dataset("train")
    for task in (task_of(data, [TEXT_ONLY]), task_of(data, [must], image_free=True)):
        assert not task.reads_images
        task.load_dataset("train")


def test_cached_answers_of_all_parts_of_a_split_follow_its_sentences(data):
    cache(data, "train", 6, first=4)
    cache(data, "train1", 2, first=14)
    task = task_of(data, cache="own", upsample_primary=2)
    task.load_dataset("train", combine=True)
    dataset = task.dataset("train")
    batch = dataset.collater([dataset[i] for i in (13, 0, 7, 12)])
    answers = dict(zip(batch["id"].tolist(), batch["teacher_ids"][:, 0, 0].tolist()))
    assert answers == {0: 4, 7: 5, 12: 14, 13: 15}


def test_images_of_a_split_whose_answers_are_cached_are_not_asked_for(data):
    cache(data, "train", 6, first=4)
    task = task_of(data, [toy.kept(ModelContract, requires_images=True, image_size=64)], cache="own")
    task.load_dataset("train")
    assert set(task.dataset("train").collater([task.dataset("train")[0]])["net_input"]) == TEXT_INPUTS
    with pytest.raises(IkdError, match=r"valid\.images\.npy is missing, and the image-must teacher"):
        task.load_dataset("valid")


def test_missing_cache_is_refused_in_training_alone(data):
    task = task_of(data, cache="own")
    with pytest.raises(
        IkdError, match=r"train\.teacher\.own\.json is missing: run ikd-cache-teacher .* train"
    ):
        task.load_dataset("train")
    task.load_dataset("valid")
    assert not isinstance(task.dataset("valid"), TaughtPairDataset)
    cache(data, "valid", 3, first=4)
    task.load_dataset("valid")
    assert isinstance(task.dataset("valid"), TaughtPairDataset)


def test_cache_for_another_dictionary_or_text_is_refused(data, write_text_split):
    cache(data, "train", 6, first=4, vocabulary=25)
    with pytest.raises(IkdError, match="dictionary of 25 words, and this one has 24"):
        task_of(data, cache="own").load_dataset("train")
    cache(data, "train", 6, first=4)
    write_text_split(data, "train", 6, length=5)
    with pytest.raises(IkdError, match="another preparation of the text"):
        task_of(data, cache="own").load_dataset("train")


def test_images_for_a_teacher_alone_are_kept_from_decoding(data, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "fairseq.tasks.translation.TranslationTask.inference_step",
        lambda self, generator, models, sample, **options: seen.append(set(sample["net_input"])),
    )
    sample = {"net_input": {"src_tokens": 1, "images": 2, "image_positions": 3}}
    for model in (SimpleNamespace(), TEXT_ONLY, toy.kept(ModelContract, requires_images=True)):
        task_of(data).inference_step(None, [model], sample, prefix_tokens=None)
    assert seen == [{"src_tokens"}, {"src_tokens"}, {"src_tokens", "images", "image_positions"}]
