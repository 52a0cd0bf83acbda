"""When the task reads images, what it refuses, and that it loses no sentence outside training."""

import os
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fairseq.models import MODEL_DATACLASS_REGISTRY
from omegaconf import OmegaConf

from ikd_fairseq.contracts import CriterionContract, ModelContract
from ikd_fairseq.data.feature_pack import BY_IMAGE, BY_SENTENCE, write_features
from ikd_fairseq.data.image_pack import ImagePack, ImagePackWriter
from ikd_fairseq.data.pairs.image_pair_dataset import ImagePairDataset
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig
from ikd_fairseq.tasks.feature_shape import fit_to_features
from ikd_fairseq.tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from tests import toy

SIZE = 4


def pack(data, split, index):
    """Images of *split*: that of row r is filled with r."""
    index = np.array(index, dtype=np.int32)
    with ImagePackWriter(str(data / split), SIZE, index, int(index.max()) + 1, "digest") as writer:
        for row in range(int(index.max()) + 1):
            writer.write(row, np.full((SIZE, SIZE, 3), row, dtype=np.uint8))
        writer.commit({"text": text_fingerprint(str(data), split)})


@pytest.fixture
def data(tmp_path, write_text_split):
    """train: 6 sentences (4 with image), train1: 2 without any, valid: 11 (none), test: 5 (all)."""
    for split, sentences in (("train", 6), ("train1", 2), ("valid", 11), ("test", 5)):
        write_text_split(tmp_path, split, sentences)
    pack(tmp_path, "train", [0, -1, 1, 2, -1, 1])
    pack(tmp_path, "test", [0, 1, 2, 3, 4])
    for language in ("en", "de"):
        toy.dictionary().save(str(tmp_path / f"dict.{language}.txt"))
    return tmp_path


def task_of(data, model=None, criterion=None, **options):
    # The last three belong to fairseq's data set options, which only its command line fills in.
    cfg = MultimodalTranslationConfig(
        data=str(data), train_subset="train", dataset_impl="mmap", required_seq_len_multiple=1, **options
    )
    task = MultimodalTranslationTask.setup_task(cfg)
    task.models, task.criterion = [model] if model else [], criterion
    return task


@pytest.mark.parametrize(
    ("options", "pair"),
    [
        ({}, ("en", "de")),
        ({"source_lang": "de"}, ("de", "en")),
        ({"target_lang": "en"}, ("de", "en")),
        ({"source_lang": "en"}, ("en", "de")),
        ({"target_lang": "de"}, ("en", "de")),
    ],
)
def test_one_language_that_is_given_settles_the_direction(data, options, pair):
    cfg = task_of(data, **options).cfg
    assert (cfg.source_lang, cfg.target_lang) == pair


@pytest.mark.parametrize("options", [{}, {"source_lang": "en"}, {"target_lang": "en"}])
def test_a_folder_without_text_is_told_whichever_language_is_given(tmp_path, options):
    toy.dictionary().save(str(tmp_path / "dict.en.txt"))
    with pytest.raises(IkdError, match="holds no binarised pair .*: run fairseq-preprocess, or give"):
        task_of(tmp_path, **options)


# ------------------------------------------------------------------ BPE-dropout


def write_merges(folder, *merges):
    (folder / "code").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")


def whole_words():
    """The merges of the toy dictionary's words, w0 to w19, each into one piece."""
    teens = [f"1 {digit}</w>" for digit in range(10)]
    return [*teens, *(f"w {number}</w>" for number in range(20))]


@pytest.mark.parametrize("target", [False, True])
def test_bpe_dropout_is_of_training_alone_and_starts_at_the_epoch_that_is_resumed(data, target):
    write_merges(data, *whole_words())
    task = task_of(data, bpe_dropout=0.5, bpe_dropout_target=target, image_free=True, seed=1)
    for split in ("train", "valid"):
        task.load_dataset(split)
    assert not hasattr(task.dataset("valid"), "samplers")
    training = task.dataset("train")
    assert list(training.samplers) == ["source", "target"][: 1 + target]
    task.criterion = object()
    task.get_batch_iterator(training, max_tokens=100, epoch=3)
    assert training.epoch == 3
    words = [task.src_dict.string(training[row]["source"], "subword_nmt") for row in range(6)]
    assert words == [task.src_dict.string(training.src[row], "subword_nmt") for row in range(6)]


@pytest.mark.parametrize("workers", [0, 1])
def test_every_epoch_is_drawn_anew_by_processes_that_load_it_too(data, workers):
    write_merges(data, *whole_words())
    task = task_of(data, criterion=object(), bpe_dropout=0.5, image_free=True, seed=1)
    task.load_dataset("train")
    training = task.dataset("train")
    training.samplers = {"source": lambda ids, draw: torch.full_like(ids, int(draw.split()[1]))}
    epochs = task.get_batch_iterator(training, max_sentences=6, num_workers=workers)
    for epoch in (1, 2, 3):
        (batch,) = epochs.next_epoch_itr()
        assert batch["net_input"]["src_tokens"].max() == epoch


def test_merges_are_those_of_the_first_shard_as_dictionaries_are(data, tmp_path_factory, write_text_split):
    write_merges(data, *whole_words())
    second = tmp_path_factory.mktemp("second")
    write_text_split(second, "train", 3)
    task = task_of(f"{data}{os.pathsep}{second}", bpe_dropout=0.5, image_free=True, seed=1)
    for epoch, sentences in ((1, 6), (2, 3)):
        task.load_dataset("train", epoch)
        assert len(task.dataset("train")) == sentences and task.dataset("train").samplers


def test_what_is_wrong_with_a_later_shard_is_told_before_the_first_is_trained_on(data, tmp_path_factory):
    second = tmp_path_factory.mktemp("second")
    task = task_of(f"{data}{os.pathsep}{second}", image_free=True)
    with pytest.raises(IkdError, match=f"{second} holds no split train of en-de"):
        task.load_dataset("train")
    task.load_dataset("valid")  # of the first alone


def test_bpe_dropout_that_cannot_be_is_refused(data):
    with pytest.raises(IkdError, match="--bpe-dropout 1.0: give a number"):
        task_of(data, bpe_dropout=1.0)
    with pytest.raises(IkdError, match="do nothing without --bpe-dropout"):
        task_of(data, bpe_dropout_target=True)
    with pytest.raises(IkdError, match="there is no such file of BPE merges"):
        task_of(data, bpe_dropout=0.1, image_free=True, seed=1).load_dataset("train")
    write_merges(data, *whole_words()[:10])
    with pytest.raises(IkdError, match="by its merges w.* does not become"):
        task_of(data, bpe_dropout=0.1, image_free=True, seed=1).load_dataset("train")
    write_merges(data, *whole_words())
    teacher = toy.kept(CriterionContract, teacher_cache="top8")
    task = task_of(data, bpe_dropout=0.1, bpe_dropout_target=True, image_free=True, seed=1)
    task.criterion = teacher
    with pytest.raises(IkdError, match="--bpe-dropout-target makes other tokens than"):
        task.load_dataset("train")


def test_a_language_that_the_data_lack_is_refused(data):
    with pytest.raises(IkdError, match="--source-lang fr: .* holds en-de"):
        task_of(data, source_lang="fr")


def test_image_free_model_reads_images_only_for_a_criterion_that_uses_them(data):
    free = toy.kept(ModelContract, image_size=SIZE)
    decoding, training = (
        task_of(data, free),
        task_of(data, free, toy.kept(CriterionContract, uses_images=True)),
    )
    for task in (decoding, training):
        task.load_dataset("train")
    assert not isinstance(decoding.dataset("train"), ImagePairDataset)
    assert isinstance(training.dataset("train"), ImagePairDataset)
    stock = task_of(data, free, SimpleNamespace())
    stock.load_dataset("train")
    assert not isinstance(stock.dataset("train"), ImagePairDataset)


def test_images_for_a_teacher_have_its_size_and_not_that_of_a_student_who_sees_none(data):
    student, teacher = (
        toy.kept(ModelContract, image_size=SIZE * 2),
        toy.kept(ModelContract, requires_images=True, image_size=SIZE),
    )
    for sees in (False, True):
        task = task_of(data, student, toy.kept(CriterionContract, uses_images=sees))
        task.teachers = [teacher]
        if sees:
            with pytest.raises(IkdError, match=f"--image-size {SIZE * 2}"):
                task.load_dataset("test")
        else:
            task.load_dataset("test")
            assert isinstance(task.dataset("test"), ImagePairDataset)


def test_image_free_reads_none_whoever_wants_them(data):
    task = task_of(data, toy.kept(ModelContract, requires_images=True, image_size=SIZE), image_free=True)
    task.load_dataset("train")
    task.load_dataset("valid")
    assert not isinstance(task.dataset("train"), ImagePairDataset)


def test_parts_of_a_split_keep_their_images(data):
    task = task_of(data, upsample_primary=2)
    task.load_dataset("train", combine=True)
    dataset = task.dataset("train")
    assert len(dataset) == 6 + 6 + 2
    values = [
        None if image is None else int(image.flat[0]) for image in map(dataset.images.__getitem__, range(14))
    ]
    assert values == [0, None, 1, 2, None, 1] * 2 + [None, None]


def test_a_share_of_the_images_is_for_training_alone(data):
    for share, kept in ((0.0, 0), (0.5, 2), (1.0, 4)):  # drawn by the seed
        task = task_of(data, image_share=share, seed=1)
        for split in ("train", "test"):
            task.load_dataset(split)
        assert task.dataset("train").images.coverage == kept
        batch = task.dataset("train").collater([task.dataset("train")[i] for i in range(6)])
        assert len(batch["net_input"]["images"]) == len(batch["net_input"]["image_positions"]) == kept
        assert task.dataset("test").images.coverage == 5
    with pytest.raises(IkdError, match="--image-share 1.5: give a share from 0 to 1"):
        task_of(data, image_share=1.5)
    with pytest.raises(IkdError, match="--image-share 0.5 takes images .* --require-images"):
        task_of(data, image_share=0.5, require_images=True)


def test_each_copy_of_an_upsampled_sentence_keeps_its_image_or_loses_it(data):
    task = task_of(data, image_share=0.5, seed=1, upsample_primary=2)
    task.load_dataset("train", combine=True)
    index = task.dataset("train").images.index
    assert index[:6].tolist() == index[6:12].tolist() and set(index[:6]) > {-1}
    task.load_dataset("train")  # one part, which fairseq does not upsample
    assert len(task.dataset("train").images) == len(task.dataset("train")) == 6


def test_validation_on_the_training_split_is_of_all_that_is_there(data):
    write_merges(data, *whole_words())
    task = task_of(data, image_share=0.0, bpe_dropout=0.5, seed=1, update_ordered_indices_seed=True)
    cfg = IKDTransformerConfig(**{**toy.SIZES, "image_size": 32}, unpool="depthwise")
    task.build_model(OmegaConf.structured(replace(cfg, _name="ikd_transformer")), from_checkpoint=True)
    task.models = []
    task.criterion = toy.kept(CriterionContract, uses_images=True)
    task.load_dataset("train")
    dataset = task.dataset("train")
    assert dataset.images.coverage == 4 and not hasattr(dataset, "samplers")
    batches = task.get_batch_iterator(dataset, max_sentences=8, required_batch_size_multiple=4, seed=1)
    assert sum(batch["nsentences"] for batch in batches.next_epoch_itr(shuffle=False)) == 6


def test_split_without_pack_is_text_only(data):
    task = task_of(data)
    task.load_dataset("valid")
    assert not isinstance(task.dataset("valid"), ImagePairDataset)


@pytest.mark.parametrize(
    "split, trained_on, expected", [("valid", True, 11), ("test", True, 5), ("train", False, 6)]
)
def test_every_sentence_outside_training_is_batched(data, split, trained_on, expected):
    task = task_of(data, criterion=toy.kept(CriterionContract, uses_images=True) if trained_on else None)
    task.load_dataset(split)
    batches = task.get_batch_iterator(task.dataset(split), max_sentences=8, required_batch_size_multiple=8)
    ids = [i for batch in batches.next_epoch_itr(shuffle=False) for i in batch["id"].tolist()]
    assert sorted(ids) == list(range(expected))


def test_a_training_that_goes_on_in_a_later_epoch_has_the_batches_of_the_first(data):
    found = []
    for epoch in (1, 2, 3, 4):
        task = task_of(data, criterion=SimpleNamespace(uses_images=True))
        task.load_dataset("train")
        batches = task.get_batch_iterator(
            task.dataset("train"), max_sentences=2, required_batch_size_multiple=1, seed=1, epoch=epoch
        )
        found.append([list(batch) for batch in batches.frozen_batches])
    assert found == [found[0]] * 4


def test_batches_that_are_composed_anew_every_epoch_belong_to_it(data):
    task = task_of(data, criterion=SimpleNamespace(uses_images=True))
    task.load_dataset("train")
    for epoch in (1, 3):
        batches = task.get_batch_iterator(
            task.dataset("train"), max_sentences=2, seed=1, epoch=epoch, update_epoch_batch_itr=True
        )
        assert batches.epoch == epoch


def test_training_keeps_fairseqs_batch_size_multiple(data, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "fairseq.tasks.translation.TranslationTask.get_batch_iterator",
        lambda self, dataset, *args, required_batch_size_multiple, **kwargs: (
            asked.append(required_batch_size_multiple) or SimpleNamespace(persistent_workers=False)
        ),
    )
    task = task_of(data, criterion=toy.kept(CriterionContract, uses_images=True))
    for split in ("train", "valid"):
        task.load_dataset(split)
        task.get_batch_iterator(task.dataset(split), required_batch_size_multiple=4)
    assert asked == [4, 1]


def test_a_corpus_below_that_multiple_is_trained_on_whole(data):
    task = task_of(data, criterion=SimpleNamespace(uses_images=True))
    task.load_dataset("train")
    batches = task.get_batch_iterator(task.dataset("train"), max_sentences=8, required_batch_size_multiple=8)
    assert [len(batch) for batch in batches.frozen_batches] == [6]


def test_batches_are_the_same_in_a_later_epoch_where_the_seed_grows_with_it(data):
    found = []
    for epoch in (1, 3):
        task = task_of(data, criterion=SimpleNamespace(uses_images=True), update_ordered_indices_seed=True)
        task.load_dataset("train")
        batches = task.get_batch_iterator(task.dataset("train"), max_sentences=2, seed=1 + epoch, epoch=epoch)
        found.append((batches.seed, [list(batch) for batch in batches.frozen_batches]))
    assert found[0] == found[1]


def test_parts_of_a_split_count_once_by_default_and_never_less(data):
    task = task_of(data)
    task.load_dataset("train", combine=True)
    assert len(task.dataset("train")) == 6 + 2
    with pytest.raises(IkdError, match="--upsample-primary 0: give how many times"):
        task_of(data, upsample_primary=0)


def test_images_that_must_be_there_are_asked_for(data):
    must = toy.kept(ModelContract, requires_images=True, image_size=SIZE)
    with pytest.raises(IkdError, match=r"valid\.images\.npy is missing.*ikd-pack-images.*--split valid"):
        task_of(data, must).load_dataset("valid")
    with pytest.raises(IkdError, match="--require-images needs it: .*, or leave that option out") as refused:
        task_of(data, must, require_images=True).load_dataset("valid")
    assert "--image-free" not in str(refused.value)
    with pytest.raises(IkdError, match="--require-images: 2 of the 6 sentences of train"):
        task_of(data, must, require_images=True).load_dataset("train")
    task_of(data, must, require_images=True).load_dataset("test")
    with pytest.raises(IkdError, match="--image-free"):
        task_of(data, must).build_dataset_for_inference([torch.tensor([4, 2])], [2])


def test_pack_of_another_size_or_text_is_refused(data, write_text_split):
    with pytest.raises(IkdError, match=r"images of 4 px.*--image-size 224"):
        task_of(data, toy.kept(ModelContract, requires_images=True, image_size=224)).load_dataset("train")
    write_text_split(data, "train", 6, length=5)
    with pytest.raises(IkdError, match=r"train\.images.*another preparation.*ikd-pack-images"):
        task_of(data).load_dataset("train")
    write_text_split(data, "train", 9)
    with pytest.raises(IkdError, match=r"train\.images"):
        task_of(data).load_dataset("train")


def test_features_stand_in_for_images_and_must_fit_the_model(data):
    features = np.arange(5 * 2 * 3, dtype=np.float16).reshape(5, 2, 3)
    manifest = {"rows": BY_SENTENCE, "text": text_fingerprint(str(data), "test")}
    write_features(str(data / "test"), "vectors", features.shape, [features], manifest)
    task = task_of(
        data, toy.kept(ModelContract, requires_images=True, feature_channels=3), image_features="vectors"
    )
    task.load_dataset("test")
    batch = task.dataset("test").collater([task.dataset("test")[i] for i in (0, 4)])["net_input"]
    assert batch["features"].dtype == torch.float16 and "images" not in batch
    np.testing.assert_array_equal(batch["features"].numpy()[1], features[4])
    other = task_of(
        data, toy.kept(ModelContract, requires_images=True, feature_channels=2048), image_features="vectors"
    )
    with pytest.raises(IkdError, match=r"test\.features\.vectors\.npy has 3 channels.*2048"):
        other.load_dataset("test")
    fixed = toy.kept(ModelContract, requires_images=True, feature_channels=3, feature_regions=49)
    with pytest.raises(IkdError, match=r"vectors\.npy has 2 regions, but the model was built for 49"):
        task_of(data, fixed, image_features="vectors").load_dataset("test")


def test_a_model_gets_the_shape_of_its_features_before_it_is_built(data):
    def fresh():
        named = {**toy.SIZES, "_name": "gated_fusion"}
        return OmegaConf.structured(MODEL_DATACLASS_REGISTRY["gated_fusion"](**named))

    cfg = fresh()
    with pytest.raises(IkdError, match="--image-features wide: there are none of .*train: run ikd-extract"):
        task_of(data, image_features="wide").build_model(cfg)
    features = np.zeros((6, 2, 7), dtype=np.float16)
    manifest = {"rows": BY_SENTENCE, "text": text_fingerprint(str(data), "train")}
    write_features(str(data / "train"), "wide", features.shape, [features], manifest)
    model = task_of(data, image_features="wide").build_model(cfg)
    manifest["text"], manifest["backbone"] = text_fingerprint(str(data), "valid"), "resnet50"
    write_features(str(data / "valid"), "wide", features.shape, [features], manifest)
    with pytest.raises(IkdError, match="those of .*train are by others, and those of .*valid by resnet50"):
        task_of(data, image_features="wide").build_model(fresh())
    for file in data.glob("valid.features.wide.*"):
        file.unlink()
    assert model.encoder.fusion.projection.in_features == model.feature_channels == 7
    assert (cfg.feature_channels, cfg.feature_regions) == (7, 2)  # as the checkpoint will have them
    for options in ({}, {"image_features": "wide"}):
        with pytest.raises(IkdError, match="--feature-regions are those of .*: leave them out"):
            task_of(data, **options).build_model(cfg)
    no_features = OmegaConf.structured(MODEL_DATACLASS_REGISTRY["transformer_mmt"](encoder_embed_dim=16))
    fit_to_features(no_features, task_of(data, image_features="nothing").cfg)


def test_folder_without_dictionary_text_or_split_is_refused(data, tmp_path_factory):
    with pytest.raises(IkdError, match="data folder /nowhere does not exist"):
        task_of("/nowhere")
    with pytest.raises(IkdError, match="run fairseq-preprocess"):
        task_of(tmp_path_factory.mktemp("empty"))
    with pytest.raises(IkdError, match=f"{data} holds no split test9 of en-de .*: run fairseq-preprocess"):
        task_of(data).load_dataset("test9")
    (data / "dict.de.txt").unlink()
    with pytest.raises(IkdError, match=r"dict\.de\.txt is missing"):
        task_of(data)


def test_a_split_without_translations_is_refused_by_a_loss_alone(data):
    (data / "valid.en-de.de.idx").unlink()
    task = task_of(data, image_free=True)
    task.load_dataset("valid")  # to be translated
    assert task.dataset("valid").tgt is None
    task.criterion = toy.kept(CriterionContract)
    with pytest.raises(IkdError, match=f"{data}/valid.en-de.de.idx is missing, and training"):
        task.load_dataset("valid")


def test_batches_carry_the_teachers_maps_beside_the_images(data):
    facts = {"backbone": "efficientnet_lite0", "stage": None, "weights": "random", "image_size": SIZE}
    criterion = toy.kept(CriterionContract, uses_images=True, image_maps=("maps", facts))

    def load(split="train", **options):
        task = task_of(data, toy.kept(ModelContract), criterion, upsample_primary=1)
        task.load_dataset(split, **options)
        return task.datasets[split]

    with pytest.raises(IkdError, match="no such features: run ikd-extract-features .* --split train --name"):
        load()
    images = ImagePack.read_manifest(str(data / "train"))
    same = {key: images[key] for key in ("images_sha256", "index_sha256")}
    rows = np.arange(3 * 2 * 5, dtype=np.float16).reshape(3, 2, 5)
    for made_with, complaint in (
        ({**facts, "weights": "imagenet"}, "weights imagenet, .* has random"),
        ({**facts, "stage": "res4f"}, "stage res4f, .* has none"),
        ({fact: value for fact, value in facts.items() if fact != "stage"}, ""),  # as they are written
    ):
        for file in data.glob("train.features.maps.*"):
            file.unlink()
        write_features(
            str(data / "train"), "maps", rows.shape, [rows], {"rows": BY_IMAGE, **made_with, **same}
        )
        if complaint:
            with pytest.raises(IkdError, match=complaint):
                load()
    dataset = load(combine=True)  # with train1, which has no images
    net_input = dataset.collater([dataset[sentence] for sentence in range(len(dataset))])["net_input"]
    by_map = {
        float(image[0, 0, 0]): found[0, 0] for image, found in zip(net_input["images"], net_input["features"])
    }
    assert by_map == {0: 0, 1: 10, 2: 20}
    assert len(net_input["image_positions"]) == 4
    load("valid")  # has no images, and so needs no maps
