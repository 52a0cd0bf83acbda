"""A trained model beside a data folder, and the features of sentences and images that analyses compare."""

import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from fairseq import checkpoint_utils
from fairseq.data import LanguagePairDataset
from fairseq.models import BaseFairseqModel
from torch import Tensor

from ..compression.export import teacher_weights_of
from ..compression.pruning import unpacked
from ..contracts import decoding_overrides, parts_for_training
from ..data.feature_extraction import region_features
from ..data.image_pack import ImagePack
from ..errors import check
from ..evaluation.translations import BPE_MARK
from ..io.checkpoints import State, architecture_of, config_section, load_checkpoint
from ..io.progress import progress
from ..modules.search import batches
from ..tasks.multimodal_translation import MultimodalTranslationTask
from ..tasks.open_task import open_task
from ..vision.device import check_device
from ..vision.weights import IMAGENET

GENERATING = "ikd_transformer"  # and its presets: the architecture whose generated features are looked into
_IMAGES_AT_ONCE = 64


class Trained(NamedTuple):
    """A checkpoint, loaded for analysis."""

    model: BaseFairseqModel  # in eval mode, in float32, on the device
    task: MultimodalTranslationTask  # of the data folder
    data: str
    cnn_weights: str  # of the frozen CNN that it was distilled from, "imagenet" where it does not say
    device: str


def load_trained(
    checkpoint: str,
    data: str,
    device: str = "cpu",
    architecture: str = "",
    image_free: bool = True,
    student: bool = False,
) -> Trained:
    """Loads a checkpoint beside the data folder *data*.

    Args:
        checkpoint, data: a file, and one folder that fairseq-preprocess wrote with the dictionaries of its
            training.
        device: ``cpu`` or ``cuda``.
        architecture: what it must be of, presets included; any of the plugin by default.
        image_free: leave images unread even for a model that looks at them. Else such a model finds them, or
            the features that it was trained on, in the splits that the task loads.
        student: whether the student network is needed; it is not loaded otherwise.

    Raises:
        IkdError: folder or checkpoint cannot be used, do not fit each other or are not what is asked for.
    """
    check(os.path.isdir(data), f"--data {data} is no folder: give one; of a path a:b, analyse each by itself")
    check_device(device)
    state = load_checkpoint(checkpoint)
    name = architecture_of(state) or "unknown"
    check(
        name.startswith(architecture),
        f"{checkpoint} is of architecture {name}, and this analysis looks at what {architecture} generates: "
        "give a checkpoint of that",
    )
    kept = parts_for_training(state["model"], name) if student else ()
    check(
        kept or not student,
        f"{checkpoint} has no student to paint with (ikd-export and --no-student leave it out): give the "
        "checkpoint that was exported, or one that was trained by distillation",
    )
    task = _open_task_of(state, checkpoint, data, image_free)
    (model,), _ = checkpoint_utils.load_model_ensemble([checkpoint], decoding_overrides(kept), task)
    return Trained(model.float().eval().to(device), task, data, teacher_weights_of(state) or IMAGENET, device)


def _open_task_of(state: State, checkpoint: str, data: str, image_free: bool) -> MultimodalTranslationTask:
    trained_on = config_section(state, "task")
    languages = {name: trained_on.get(name) for name in ("source_lang", "target_lang")}
    task = open_task(data, image_free=image_free, **languages)
    words = unpacked(state["model"]).get("encoder.embed_tokens.weight")
    check(
        words is not None, f"{checkpoint} has no encoder with word embeddings, so it is no translation model"
    )
    check(
        len(words) == len(task.source_dictionary),
        f"{checkpoint} has a source dictionary of {len(words)} words, and dict.{task.cfg.source_lang}.txt in "
        f"{data} has {len(task.source_dictionary)}: give the data folder that it was trained on",
    )
    return task


def load_sentences(trained: Trained, split: str) -> LanguagePairDataset:
    """The sentence pairs of *split*, with images where *trained* was loaded to look at them.

    Raises:
        IkdError: there is no such split.
    """
    trained.task.load_dataset(split)
    return trained.task.dataset(split)


def open_pictured(trained: Trained, split: str) -> tuple[LanguagePairDataset, ImagePack]:
    """The sentence pairs of *split* and its images, checked to fit text and model.

    Raises:
        IkdError: there are none, or images for other text or of another size.
    """
    dataset = load_sentences(trained, split)
    prefix = os.path.join(trained.data, split)
    check(
        ImagePack.exists(prefix),
        f"{split} in {trained.data} has no images, and this analysis needs some: run ikd-pack-images --data "
        f"{trained.data} --split {split}, or give another --split",
    )
    pack = ImagePack.open(prefix)
    pack.check_text(trained.data, split)
    size = trained.model.image_size
    check(
        pack.image_size == size,
        f"{prefix}.images.npy holds images of {pack.image_size} px, but the checkpoint was trained with "
        f"--image-size {size}: pack them at that size",
    )
    return dataset, pack


def source_text(trained: Trained, dataset: LanguagePairDataset, sentence: int) -> str:
    """A source sentence as one would read it: pieces of BPE joined."""
    return trained.task.source_dictionary.string(dataset.src[sentence], BPE_MARK)


def encode(
    trained: Trained, dataset: LanguagePairDataset, sentences: Sequence[int], max_tokens: int
) -> Iterator[tuple[list[int], Tensor, Tensor]]:
    """Runs the encoder over *sentences*, with a progress bar and without gradients.

    Yields:
        For each of :func:`batches`: the numbers of its sentences, their tokens ``B x I``, and the generated
        feature ``B x P x C``, both on the model's device.

    Raises:
        IkdError: a sentence is too long.
    """
    encoder = trained.model.encoder
    with torch.no_grad(), progress(None, total=len(sentences), desc="encode", unit=" sentences") as bar:
        for batch in batches(dataset, sentences, max_tokens, encoder.max_positions()):
            source = batch["net_input"]["src_tokens"], batch["net_input"]["src_lengths"]
            tokens, lengths = (tensor.to(trained.device) for tensor in source)
            yield batch["id"].tolist(), tokens, encoder(tokens, lengths)["regions"][0]
            bar.update(len(tokens))


def generated_features(
    trained: Trained, dataset: LanguagePairDataset, sentences: Sequence[int], max_tokens: int
) -> Tensor:
    """The generator's feature of each of S sentences, averaged over regions: float32 ``S x C`` on the CPU.

    Rows are in the order of *sentences*, which are distinct.
    """
    found: dict[int, Tensor] = {}
    for numbers, _, regions in encode(trained, dataset, sentences, max_tokens):
        found.update(zip(numbers, regions.mean(dim=1).float().cpu()))
    return torch.stack([found[sentence] for sentence in sentences])


def visual_features(
    trained: Trained, pack: ImagePack, rows: np.ndarray, weights: str | None = None
) -> Tensor:
    """The frozen CNN's last map of each of R images, averaged over its positions: float32 ``R x C``.

    *rows*, int64, are of the pack; *weights* are ``imagenet``, ``random`` or a file, by default those of
    *trained*.

    Raises:
        IkdError: weights that cannot be had or used.
    """
    backbone, weights = trained.model.backbone.name, weights or trained.cnn_weights
    found = region_features(pack, rows, backbone, weights, _IMAGES_AT_ONCE, trained.device)
    return torch.cat([regions.mean(dim=1) for _, regions in found])


class ComparedFeatures(NamedTuple):
    """Features of the S sentences with an image, and of their G distinct images, each of length 1 or 0."""

    generated: Tensor  # S x C
    seen: Tensor  # G x C, by the frozen CNN
    targets: Tensor  # int64 S, the row of `seen` that is the sentence's own
    shown_by: np.ndarray  # int64 G, the first sentence that has the image
    centre: Tensor  # C, what was subtracted from the generated ones: their mean, or zeros


def compared_features(
    trained: Trained,
    dataset: LanguagePairDataset,
    pack: ImagePack,
    max_tokens: int,
    centre: bool,
    weights: str | None = None,
) -> ComparedFeatures:
    """The features of a split to compare; *centre* is of :func:`for_cosine`, *weights* of the frozen CNN.

    Raises:
        IkdError: a sentence is too long, or the weights cannot be had or used.
    """
    sentences = pack.with_entry
    rows, firsts, targets = np.unique(pack.index[sentences], return_index=True, return_inverse=True)
    generated = generated_features(trained, dataset, sentences.tolist(), max_tokens)
    mean = generated.mean(dim=0) if centre else torch.zeros_like(generated[0])
    seen = for_cosine(visual_features(trained, pack, rows, weights), centre)
    found = for_cosine(generated - mean, centre=False)
    return ComparedFeatures(found, seen, torch.from_numpy(targets), sentences[firsts], mean)


def for_cosine(features: Tensor, centre: bool) -> Tensor:
    """*features*, ``N x C``, less their mean if *centre*, each scaled to length 1 (zeros stay zeros)."""
    if centre:
        features = features - features.mean(dim=0)
    return F.normalize(features, dim=1)
