"""The task ``multimodal_translation``: fairseq's ``translation`` with an image beside some of the sentences."""

import copy
import itertools
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Optional

import torch
from fairseq import checkpoint_utils, utils
from fairseq.data import data_utils, indexed_dataset
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..compression.pruning import check_masks
from ..constants import FEATURES, FEATURES_SUFFIX, IGNORED, IMAGES, IMAGES_SUFFIX, PROCESS
from ..data.feature_pack import FeaturePack
from ..data.image_pack import ImagePack
from ..data.image_pair_dataset import BySentence, ImagePairDataset, NoImages, concatenate, without_images
from ..distillation.taught_pair_dataset import TaughtPairDataset
from ..distillation.teacher_cache import TeacherCache
from ..distillation.teacher_checkpoint import check_teacher
from ..errors import check
from ..logged_values import log_values, logged_values_of
from .run_facts import run_facts

logger = logging.getLogger(__name__)


@dataclass
class MultimodalTranslationConfig(TranslationConfig):
    """fairseq's translation options, and where images come in."""

    image_free: bool = field(
        default=False,
        metadata={
            "help": "never read images or features, even where they are; an image-must model then translates "
            "by its text path alone"
        },
    )
    require_images: bool = field(
        default=False,
        metadata={
            "help": "refuse a split in which some sentence has no image, instead of training that sentence on "
            "translation alone"
        },
    )
    image_features: Optional[str] = field(
        default=None,
        metadata={
            "help": "read SPLIT.features.NAME.npy (written by ikd-extract-features) instead of images, by NAME; "
            "for models that look at features alone"
        },
    )


@register_task("multimodal_translation", dataclass=MultimodalTranslationConfig)
class MultimodalTranslationTask(TranslationTask):
    """Loads sentence pairs with their images, and batches them.

    Images are read only where something looks at them: an architecture with ``requires_images``, trained or
    as a teacher, or a criterion with ``uses_images``. So an image-free model decodes without touching a pack.
    A criterion with a ``teacher_cache`` finds the cached answers in its batches.
    """

    cfg: MultimodalTranslationConfig

    def __init__(self, cfg: MultimodalTranslationConfig, src_dict, tgt_dict):
        super().__init__(cfg, src_dict, tgt_dict)
        self.models = []  # several where an ensemble translates
        self.teachers = []  # of a criterion that distils what other translation models know
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
            "--image-free reads no image and --require-images wants one for every sentence: give one of the two",
        )
        for folder in utils.split_paths(cfg.data):
            check(os.path.isdir(folder), f"data folder {folder} does not exist")
        folder = utils.split_paths(cfg.data)[0]
        if cfg.source_lang is None or cfg.target_lang is None:
            cfg.source_lang, cfg.target_lang = data_utils.infer_language_pair(folder)
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
        if getattr(self.models[-1], "student", None) is not None and not hasattr(
            self.criterion, "uses_images"
        ):
            logger.warning(
                "the model has a student that %s does not train: build it with --no-student (PyTorch's own DDP "
                "refuses parameters that get no gradient)",
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
        # What only training needs, or files that went into the weights long ago.
        overrides = {"no_student": True, "encoder_embed_path": None, "decoder_embed_path": None}
        with torch.random.fork_rng(devices=[]):
            self.teachers, _ = checkpoint_utils.load_model_ensemble(list(paths), overrides, task)
        return self.teachers

    @property
    def reads_images(self) -> bool:
        """Whether splits are loaded with their images. True as long as no model says that it needs none."""
        if self.cfg.image_free:
            return False
        nobody_knows = not (self.models or self.teachers)
        return nobody_knows or self._image_must is not None or getattr(self.criterion, "uses_images", False)

    @property
    def _image_must(self):
        """A model that cannot do without images, if there is one."""
        return next((model for model in self._looking if getattr(model, "requires_images", False)), None)

    @property
    def _looking(self) -> list[BaseFairseqModel]:
        """The models that images or features must fit: all but teachers that need none."""
        return self.models + [model for model in self.teachers if getattr(model, "requires_images", False)]

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split of text and, where something looks at them, its images or features.

        Raises:
            IkdError: there is no such split, or its images do not fit the text or the model, or are missing where
                they are required.
        """
        paths = utils.split_paths(self.cfg.data)
        folder = paths[(epoch - 1) % len(paths)] if split == self.cfg.train_subset else paths[0]
        parts = self._text_parts(folder, split, combine)
        check(
            bool(parts),
            f"{folder} holds no split {split} of {self.cfg.source_lang}-{self.cfg.target_lang} (such as "
            f"{split}.{self.cfg.source_lang}-{self.cfg.target_lang}.{self.cfg.source_lang}.idx): run fairseq-preprocess, "
            "or name another split",
        )
        super().load_dataset(split, epoch, combine, **kwargs)
        if self.reads_images or self.cfg.require_images:
            self._add_images(split, folder, parts)
        answers = self._load_answers(split, folder, parts)
        if answers is not None:
            self.datasets[split] = TaughtPairDataset(self.datasets[split], answers, self.tgt_dict.pad())

    def _add_images(self, split: str, folder: str, parts: list[tuple[str, int]]) -> None:
        packs = self._load_packs(folder, parts)
        if packs is None and split == self.cfg.train_subset and getattr(self.criterion, "uses_images", False):
            logger.warning("%s %s has no images, so nothing is distilled: run ikd-pack-images", folder, split)
        if packs is not None and self.reads_images:
            key = FEATURES if self.cfg.image_features else IMAGES
            self.datasets[split] = ImagePairDataset(self.datasets[split], key, packs)

    def _text_parts(self, folder: str, split: str, combine: bool) -> list[tuple[str, int]]:
        """(name, sentences) of the files that make up *split*: ``train``, and with *combine* ``train1``, …"""
        source, target = self.cfg.source_lang, self.cfg.target_lang
        parts = []
        for k in itertools.count():
            name = f"{split}{k or ''}"
            for pair in (f"{source}-{target}", f"{target}-{source}"):
                prefix = os.path.join(folder, f"{name}.{pair}.{source}")
                if indexed_dataset.dataset_exists(prefix, impl=self.cfg.dataset_impl):
                    text = data_utils.load_indexed_dataset(prefix, self.src_dict, self.cfg.dataset_impl)
                    parts.append((name, len(text)))
                    break
            else:
                return parts
            if not combine:
                return parts

    def _load_packs(self, folder: str, parts: list[tuple[str, int]]) -> Optional[BySentence]:
        """Images or features of the *parts* of a split, one entry a sentence; ``None`` if no part has any."""
        packs, found = [], False
        for name, sentences in parts:
            prefix = os.path.join(folder, name)
            pack = self._open_pack(prefix)
            if pack is None:
                check(
                    not self._must_have_images,
                    f"{self._pack_file(prefix)} is missing, and {self._who_must_have_images} needs it: run "
                    f"{'ikd-extract-features' if self.cfg.image_features else 'ikd-pack-images'} --data {folder} "
                    f"--split {name}, or translate by the text path alone with --image-free",
                )
                packs.append(NoImages(sentences))
                continue
            found = True
            check(
                len(pack) == sentences,
                f"{self._pack_file(prefix)} was made for {len(pack)} sentences, but {name} in {folder} has "
                f"{sentences}: they come from different preparations, so pack the images again",
            )
            with_image = pack.coverage
            check(
                with_image == sentences or not self.cfg.require_images,
                f"--require-images: {sentences - with_image} of the {sentences} sentences of {name} in {folder} have "
                "no image",
            )
            logger.info("%s %s: %d of %d sentences have an image", folder, name, with_image, sentences)
            packs.append(pack)
        if not found:
            logger.info("%s %s: no images, text only", folder, parts[0][0])
            return None
        return concatenate(packs, self.cfg.upsample_primary)

    def _pack_file(self, prefix: str) -> str:
        name = self.cfg.image_features
        return prefix + (FEATURES_SUFFIX.format(name=name) if name else IMAGES_SUFFIX)

    def _open_pack(self, prefix: str):
        """The pack at *prefix*, held against what the model was built for; ``None`` if there is none."""
        name = self.cfg.image_features
        if name:
            if not FeaturePack.exists(prefix, name):
                return None
            pack = FeaturePack.open(prefix, name)
            pack.check_text(*os.path.split(prefix))
            for model in self._looking:
                wanted = getattr(model, "feature_channels", None)
                check(
                    wanted in (None, pack.channels),
                    f"{self._pack_file(prefix)} has {pack.channels} channels, but the model's --backbone has {wanted}",
                )
            return pack
        if not ImagePack.exists(prefix):
            return None
        pack = ImagePack.open(prefix)
        pack.check_text(*os.path.split(prefix))
        for model in self._looking:
            wanted = getattr(model, "image_size", None)
            check(
                wanted in (None, pack.image_size),
                f"{self._pack_file(prefix)} holds images of {pack.image_size} px, but the model was built for "
                f"--image-size {wanted}: pack them at that size, or train with --image-size {pack.image_size}",
            )
        return pack

    def _load_answers(self, split: str, folder: str, parts: list[tuple[str, int]]):
        """What the criterion's teachers answer to the *parts* of a split; ``None`` if there is no cache."""
        name = getattr(self.criterion, "teacher_cache", None)
        if not name:
            return None
        caches = []
        for part, _ in parts:
            prefix = os.path.join(folder, part)
            if not TeacherCache.exists(prefix, name):
                check(
                    split != self.cfg.train_subset,
                    f"teacher cache {TeacherCache.paths(prefix, name)[-1]} is missing: run ikd-cache-teacher "
                    f"{folder} --split {part} --name {name}, or train without --teacher-cache",
                )
                logger.info("%s %s: no teacher cache %s", folder, part, name)
                return None
            cache = TeacherCache.open(prefix, name)
            cache.check_text(folder, part)
            cache.check_vocabulary(len(self.tgt_dict))
            if self.criterion.teacher_paths:
                cache.check_teachers(self.criterion.teacher_paths)
            logger.info("%s %s: teacher cache %s, top %d words", folder, part, name, cache.top_k)
            caches.append(cache)
        return concatenate(caches, self.cfg.upsample_primary)

    @property
    def _must_have_images(self) -> bool:
        return self.cfg.require_images or self._image_must is not None

    @property
    def _who_must_have_images(self) -> str:
        if self.cfg.require_images:
            return "--require-images"
        role = "teacher " if self._image_must in self.teachers else ""
        return f"the image-must {role}{type(self._image_must).__name__}"

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Sentences typed in or given by a program (fairseq-interactive, hub): there is no image for them."""
        check(
            self.cfg.image_free or self._image_must is None,
            f"the image-must {type(self._image_must).__name__} needs an image for every sentence: use fairseq-generate on a "
            "split with a pack, or translate by the text path alone with --image-free",
        )
        return super().build_dataset_for_inference(src_tokens, src_lengths, constraints)

    def inference_step(self, generator, models, sample, *args, **kwargs):
        # Images may be there for a teacher alone, and fairseq's own encoders take none.
        if not any(getattr(model, "requires_images", False) for model in models):
            sample = {**sample, "net_input": without_images(sample["net_input"])}
        return super().inference_step(generator, models, sample, *args, **kwargs)

    def begin_epoch(self, epoch, model):
        super().begin_epoch(epoch, model)
        if not self._masks_checked:  # once: from here on, nothing but training changes the weights
            check_masks(model)
            self._masks_checked = True

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        # A worker that has run out of batches repeats one, and its loss is dropped. A criterion that counts images
        # over all workers must not count those of the repeated batch.
        with logged_values_of(model) as values:
            loss, sample_size, logging_output = super().train_step(
                {**sample, IGNORED: ignore_grad}, model, criterion, optimizer, update_num, ignore_grad
            )
        return loss, sample_size, {**logging_output, **values}

    def valid_step(self, sample, model, criterion):
        with logged_values_of(model) as values:
            loss, sample_size, logging_output = super().valid_step(sample, model, criterion)
        return loss, sample_size, {**logging_output, **values}

    def reduce_metrics(self, logging_outputs, criterion):
        super().reduce_metrics(logging_outputs, criterion)
        log_values(logging_outputs)

    def get_batch_iterator(self, dataset, *args, required_batch_size_multiple=1, **kwargs):
        """fairseq's iterator, without lost sentences outside training and without other batches on resuming.

        fairseq 0.12 drops the last batch (of the longest sentences) when its size is no multiple of
        ``--required-batch-size-multiple``, 8 by default.
        """
        training = self.criterion is not None and dataset is self.datasets.get(self.cfg.train_subset)
        if not training:
            required_batch_size_multiple = 1
        elif not self.has_sharded_data("train"):
            # Batches are composed once, by seed and epoch. A training that goes on in a later epoch has
            # those of its first, as if it had not been cut off.
            kwargs["epoch"] = 1
        return super().get_batch_iterator(
            dataset, *args, required_batch_size_multiple=required_batch_size_multiple, **kwargs
        )
