"""The task ``multimodal_translation``: fairseq's ``translation`` with an image beside some sentences."""

import copy
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Optional

import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from omegaconf import II

from ..compression.pruning import check_masks
from ..constants import FEATURES, IGNORED, IMAGES, PROCESS
from ..contracts import (
    CriterionContract,
    InvertingModel,
    ModelContract,
    TaskContract,
    contract_of,
    decoding_overrides,
    inputs_of,
)
from ..data.pairs.bpe_dropout_dataset import BpeDropoutDataset, SubwordSampler
from ..data.pairs.image_pair_dataset import ImagePairDataset, concatenate
from ..data.pairs.split_images import Demands, Part, open_split_images, split_parts
from ..distillation.taught_pair_dataset import TaughtPairDataset
from ..distillation.teacher_cache import TeacherCache
from ..distillation.teacher_models import check_teacher
from ..errors import check
from ..modules.options import option
from .divergence import check_finite
from .logged_values import log_values, logged_values_of
from .run_facts import run_facts

logger = logging.getLogger(__name__)


@dataclass
class MultimodalTranslationConfig(TranslationConfig):
    """fairseq's translation options, and where images come in."""

    image_free: bool = option(
        False,
        "never read images or features, even where they are; an image-must model then translates "
        "by its text path alone",
    )
    require_images: bool = option(
        False,
        "refuse a split in which some sentence has no image, instead of training that sentence on "
        "translation alone",
    )
    image_features: Optional[str] = option(
        None,
        "read SPLIT.features.NAME.npy (written by ikd-extract-features) instead of images, by NAME; "
        "for models that look at features alone",
    )
    bpe_dropout: float = option(
        0.0,
        "BPE-dropout: segment the source of the training sentences anew in every epoch, leaving out each "
        "merge with this probability, such as 0.1; batches are made by the text as it is",
    )
    bpe_dropout_target: bool = option(False, "with --bpe-dropout: that of their target too")
    bpe_dropout_codes: Optional[str] = option(
        None, "with --bpe-dropout: the BPE merges that the text was segmented by (default: DATA/code)"
    )
    seed: int = II("common.seed")


@register_task("multimodal_translation", dataclass=MultimodalTranslationConfig)
class MultimodalTranslationTask(TaskContract, TranslationTask):
    """Loads sentence pairs with their images, and batches them.

    Images are read only where something looks at them: an architecture with ``requires_images``, trained or
    as a teacher, or a criterion with ``uses_images``. So an image-free model decodes without touching a pack.
    A criterion with a ``teacher_cache`` finds the cached answers in its batches.
    """

    cfg: MultimodalTranslationConfig

    def __init__(self, cfg: MultimodalTranslationConfig, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.models = []  # several where an ensemble translates
        self.teachers: list[BaseFairseqModel] = []  # of a criterion that distils translation models
        self.criterion = None
        self._masks_checked = False

    @classmethod
    def setup_task(cls, cfg: MultimodalTranslationConfig, **kwargs):
        """Loads the dictionaries.

        Raises:
            IkdError: a data folder or a dictionary is missing.
        """
        check(bool(cfg.data), "no data folder given: name the folder that fairseq-preprocess wrote")
        check(
            not (cfg.image_free and cfg.require_images),
            "--image-free reads no image and --require-images wants one for every sentence: give one of "
            "the two",
        )
        check(0 <= cfg.bpe_dropout < 1, f"--bpe-dropout {cfg.bpe_dropout}: give a number from 0 to below 1")
        check(
            cfg.bpe_dropout > 0 or not (cfg.bpe_dropout_target or cfg.bpe_dropout_codes),
            "--bpe-dropout-target and --bpe-dropout-codes do nothing without --bpe-dropout: give that too",
        )
        for folder in utils.split_paths(cfg.data):
            check(os.path.isdir(folder), f"data folder {folder} does not exist")
        folder = utils.split_paths(cfg.data)[0]
        if cfg.source_lang is None or cfg.target_lang is None:
            pair = data_utils.infer_language_pair(folder)
            for option, language in (("source", cfg.source_lang), ("target", cfg.target_lang)):
                known = language is None or language in pair
                check(known, f"--{option}-lang {language}: {folder} holds {'-'.join(map(str, pair))}")
            if (cfg.source_lang or pair[0]) == (cfg.target_lang or pair[1]):  # the one that is given turns it
                pair = pair[::-1]
            cfg.source_lang, cfg.target_lang = cfg.source_lang or pair[0], cfg.target_lang or pair[1]
        check(
            cfg.source_lang is not None and cfg.target_lang is not None,
            f"{folder} holds no binarised pair to tell the languages from: run fairseq-preprocess, or give "
            "--source-lang and --target-lang",
        )
        for language in (cfg.source_lang, cfg.target_lang):
            path = os.path.join(folder, f"dict.{language}.txt")
            check(os.path.isfile(path), f"dictionary {path} is missing: run fairseq-preprocess into {folder}")
        return super().setup_task(cfg, **kwargs)

    def state_dict(self):
        """What checkpoints hold of the task: fairseq's, and facts about the process, for the run's record."""
        return {**super().state_dict(), PROCESS: run_facts()}

    def build_model(self, cfg, from_checkpoint=False):
        model = super().build_model(cfg, from_checkpoint)
        self.models.append(model)
        return model

    def build_criterion(self, cfg, from_checkpoint=False):
        self.criterion = super().build_criterion(cfg, from_checkpoint)
        model = self.models[-1]
        student = model.student if isinstance(model, InvertingModel) else None
        learns = student is not None and any(weight.requires_grad for weight in student.parameters())
        if learns and not self._criterion.uses_images:
            logger.warning(
                "the model has a student that %s does not train: build it with --no-student (PyTorch's own "
                "DDP refuses parameters that get no gradient)",
                type(self.criterion).__name__,
            )
        return self.criterion

    def load_teachers(self, paths: Sequence[str]) -> list[BaseFairseqModel]:
        """Loads checkpoints that teach the model in training; splits are read with the images that they need.

        A task of their own builds them: this one's list of models and ``--eval-bleu`` are the student's.
        torch's random numbers on the CPU are where they were.

        Raises:
            IkdError: a checkpoint cannot be used, or is of other languages or dictionaries.
        """
        for path in paths:
            check_teacher(path, self.src_dict, self.tgt_dict, self.cfg.source_lang, self.cfg.target_lang)
        cfg = copy.copy(self.cfg)
        cfg.eval_bleu = False
        task = type(self)(cfg, self.src_dict, self.tgt_dict)
        with torch.random.fork_rng(devices=[]):
            self.teachers, _ = checkpoint_utils.load_model_ensemble(list(paths), decoding_overrides(), task)
        return self.teachers

    @property
    def _criterion(self) -> CriterionContract:
        return contract_of(self.criterion, CriterionContract)

    @property
    def _contracts(self) -> list[ModelContract]:
        return [contract_of(model, ModelContract) for model in self.models + self.teachers]

    @property
    def _image_must(self):
        """A model that cannot do without images, if there is one."""
        return next((model for model in self._contracts if model.requires_images), None)

    @property
    def reads_images(self) -> bool:
        """Whether splits are loaded with their images. True as long as no model says that it needs none."""
        if self.cfg.image_free:
            return False
        return not self._contracts or self._image_must is not None or self._criterion.uses_images

    @property
    def _demands(self) -> Demands:
        """What the images of a split have to be; of teachers, those that need none do not count."""
        looking = [model for model in self._contracts if model.requires_images or model in self.models]
        sizes = {m.feature_channels if self.cfg.image_features else m.image_size for m in looking}
        asked_by = None
        if self.cfg.require_images:
            asked_by = "--require-images"
        elif self._image_must is not None:
            role = "teacher " if self._image_must in self.teachers else ""
            asked_by = f"the image-must {role}{type(self._image_must).__name__}"
        return Demands(self.cfg.image_features, sizes - {None}, asked_by, self.cfg.require_images)

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split of text and, where something looks at them, its images or features.

        Raises:
            IkdError: there is no such split, or its images do not fit the text or the model, or are missing
                where they are required.
        """
        paths = utils.split_paths(self.cfg.data)
        folder = paths[(epoch - 1) % len(paths)] if split == self.cfg.train_subset else paths[0]
        source, target, words = self.cfg.source_lang, self.cfg.target_lang, self.src_dict
        parts = split_parts(folder, split, (source, target), words, self.cfg.dataset_impl, combine)
        check(
            bool(parts),
            f"{folder} holds no split {split} of {source}-{target} (such as "
            f"{split}.{source}-{target}.{source}.idx): run fairseq-preprocess, or name another split",
        )
        super().load_dataset(split, epoch, combine, **kwargs)
        if split == self.cfg.train_subset and self.cfg.bpe_dropout:
            self._drop_merges(split, folder)
        if self.reads_images or self.cfg.require_images:
            self._add_images(split, parts)
        answers = self._load_answers(split, parts)
        if answers is not None:
            self.datasets[split] = TaughtPairDataset(self.datasets[split], answers, self.tgt_dict.pad())

    def _drop_merges(self, split: str, folder: str) -> None:
        pairs, codes = self.datasets[split], self.cfg.bpe_dropout_codes or os.path.join(folder, "code")
        sides = {"source": (self.src_dict, pairs.src)}
        if self.cfg.bpe_dropout_target:
            sides["target"] = (self.tgt_dict, pairs.tgt)
        samplers = {}
        for side, (words, sentences) in sides.items():
            samplers[side] = SubwordSampler(codes, words, self.cfg.bpe_dropout)
            samplers[side].check_text(sentences)
        self.datasets[split] = BpeDropoutDataset(pairs, samplers, self.cfg.seed)

    def _add_images(self, split: str, parts: list[Part]) -> None:
        images = open_split_images(parts, self._demands, self.cfg.upsample_primary)
        if images is None and split == self.cfg.train_subset and self._criterion.uses_images:
            message = "%s %s has no images, so nothing is distilled: run ikd-pack-images"
            logger.warning(message, parts[0].folder, parts[0].name)
        if images is not None and self.reads_images:
            key = FEATURES if self.cfg.image_features else IMAGES
            self.datasets[split] = ImagePairDataset(self.datasets[split], key, images)

    def _load_answers(self, split: str, parts: list[Part]):
        """What the criterion's teachers answer to the *parts* of a split; ``None`` if there is no cache."""
        name = self._criterion.teacher_cache
        if not name:
            return None
        check(
            not (self.cfg.bpe_dropout_target and split == self.cfg.train_subset),
            "--bpe-dropout-target makes other tokens than those that --teacher-cache answers: give one of "
            "the two",
        )
        caches: list[Any] = []
        for part in parts:
            if not TeacherCache.exists(part.prefix, name):
                check(
                    split != self.cfg.train_subset,
                    f"teacher cache {TeacherCache.paths(part.prefix, name)[-1]} is missing: run "
                    f"ikd-cache-teacher {part.folder} --split {part.name} --name {name}, or train "
                    "without --teacher-cache",
                )
                logger.info("%s: no teacher cache %s", part.prefix, name)
                return None
            cache = TeacherCache.open(part.prefix, name)
            cache.check_text(part.folder, part.name)
            cache.check_vocabulary(len(self.tgt_dict))
            if self._criterion.teacher_paths:
                cache.check_teachers(self._criterion.teacher_paths)
            logger.info("%s: teacher cache %s, top %d words", part.prefix, name, cache.top_k)
            caches.append(cache)
        return concatenate(caches, self.cfg.upsample_primary)

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Sentences typed in or given by a program (fairseq-interactive, hub): there is no image for them."""
        check(
            self.cfg.image_free or self._image_must is None,
            f"the image-must {type(self._image_must).__name__} needs an image for every sentence: "
            "use fairseq-generate on a split with a pack, or translate by the text path alone with "
            "--image-free",
        )
        return super().build_dataset_for_inference(src_tokens, src_lengths, constraints)

    def inference_step(self, generator, models, sample, *args, **kwargs):
        # Images may be there for a teacher alone, and fairseq's own encoders take none.
        sample = {**sample, "net_input": inputs_of(sample["net_input"], *models)}
        return super().inference_step(generator, models, sample, *args, **kwargs)

    def begin_epoch(self, epoch, model):
        super().begin_epoch(epoch, model)
        if not self._masks_checked:  # once: from here on, nothing but training changes the weights
            check_masks(model)
            self._masks_checked = True

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        # A worker that has run out of batches repeats one, and its loss is dropped. A criterion that counts
        # images over all workers must not count those of the repeated batch.
        with logged_values_of(model) as values:
            loss, sample_size, logging_output = super().train_step(
                {**sample, IGNORED: ignore_grad}, model, criterion, optimizer, update_num, ignore_grad
            )
        if not hasattr(optimizer, "scaler"):  # half precision skips a batch that overflows
            check_finite(update_num, logging_output)
        return loss, sample_size, {**logging_output, **values}

    def valid_step(self, sample, model, criterion):
        with logged_values_of(model) as values:
            loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        return loss, sample_size, {**logging_output, **values}

    def reduce_metrics(self, logging_outputs, criterion):
        super().reduce_metrics(logging_outputs, criterion)
        log_values(logging_outputs)

    def get_batch_iterator(self, dataset, *args, required_batch_size_multiple=1, **kwargs):
        """fairseq's iterator, without losing sentences outside training or other batches on resuming.

        fairseq 0.12 drops the last batch (of the longest sentences) when its size is no multiple of
        ``--required-batch-size-multiple``, 8 by default.
        """
        training = self.criterion is not None and dataset is self.datasets.get(self.cfg.train_subset)
        epoch = kwargs.get("epoch", 1)
        if not training:
            required_batch_size_multiple = 1
        elif not (self.has_sharded_data("train") or kwargs.get("update_epoch_batch_itr")):
            # Batches are composed once, by seed and epoch. A training that goes on in a later epoch shall
            # have those of its first, as if it had not been cut off.
            kwargs["epoch"] = 1
        iterator = super().get_batch_iterator(
            dataset, *args, required_batch_size_multiple=required_batch_size_multiple, **kwargs
        )
        if training:  # fairseq says it only after the processes that load a resumed epoch have begun
            dataset.set_epoch(epoch)
        return iterator
