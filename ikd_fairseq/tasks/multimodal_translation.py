"""The task ``multimodal_translation``: fairseq's ``translation`` with an image beside some sentences."""

import copy
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from fairseq import checkpoint_utils, utils
from fairseq.models import BaseFairseqModel
from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationTask

from ..compression.pruning import check_masks
from ..constants import CHECKPOINT, DICTIONARIES, FEATURES, IGNORED, IMAGE_FEATURES, IMAGES, MERGES, PROCESS
from ..contracts import (
    CriterionContract,
    ModelContract,
    TaskContract,
    contract_of,
    decoding_overrides,
    inputs_of,
    views_of,
)
from ..data.pairs.bpe_dropout_dataset import BpeDropoutDataset, SubwordSampler
from ..data.pairs.image_pair_dataset import ImagePairDataset
from ..data.pairs.split_images import Demands, Part, open_split_images, split_parts, upsampled
from ..data.pairs.teacher_maps import open_teacher_maps
from ..distillation.taught_pair_dataset import TaughtPairDataset, open_answers
from ..distillation.teacher_models import check_teacher
from ..errors import check
from ..modules.beam_memory import memory_by_sentence
from . import early_stopping
from .config import MultimodalTranslationConfig
from .divergence import Divergence, check_finite
from .feature_shape import TrainedOn, fit_to_features, look_with
from .logged_values import log_values, logged_values_of
from .mixed_precision import check_machine, in_bf16
from .option_checks import (
    check_bpe_dropout,
    check_criterion,
    check_ensemble,
    check_images,
    check_model_options,
    check_precision,
    check_search,
    warn_of_idle_parts,
)
from .run_facts import note_gpu_memory, run_facts
from .vocabulary import check_fingerprints, check_merges, check_words_of, find_languages, fingerprints

logger = logging.getLogger(__name__)


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
        self.trained_with: Mapping[str, Any] = {}  # those of the checkpoint that was loaded, if it has any
        self._masks_checked = False
        self._trained_on = TrainedOn(cfg)
        self._trains = True  # until a checkpoint is loaded to decode or validate with

    @classmethod
    def setup_task(cls, cfg: MultimodalTranslationConfig, **kwargs):
        """Loads the dictionaries.

        Raises:
            IkdError: a data folder or a dictionary is missing, or options contradict each other.
        """
        check(bool(cfg.data), "no data folder given: name the folder that fairseq-preprocess wrote")
        check_images(cfg)
        if cfg.bf16_autocast:
            check_machine("cpu", "cuda")
        times = cfg.upsample_primary
        check(times > 0 or times == -1, f"--upsample-primary {times}: give how many times train is to count")
        cfg.upsample_primary = max(times, 1)  # fairseq's own default fails where there is a train1
        pair = find_languages(utils.split_paths(cfg.data), cfg.source_lang, cfg.target_lang)
        cfg.source_lang, cfg.target_lang = pair
        check_bpe_dropout(cfg)
        return super().setup_task(cfg, **kwargs)

    @functools.cached_property
    def fingerprints(self) -> dict[str, Any]:
        """Those of the dictionaries and merges of the data folder."""
        languages, folder = (self.cfg.source_lang, self.cfg.target_lang), utils.split_paths(self.cfg.data)[0]
        return fingerprints(self.src_dict, self.tgt_dict, folder, languages)

    def state_dict(self):
        """What checkpoints hold of the task: fairseq's, facts about process and words, and patience."""
        facts = {PROCESS: run_facts(), DICTIONARIES: self.fingerprints}
        return {**super().state_dict(), **facts, **early_stopping.counted()}

    def load_state_dict(self, state_dict):
        """Takes what a checkpoint holds of its task; one of version 0.1 holds no fingerprints.

        Raises:
            IkdError: it was trained with other languages, dictionaries or merges.
        """
        state = dict(state_dict)
        checkpoint, trained = str(state.pop(CHECKPOINT, "given")), state.pop(DICTIONARIES, None)
        self._trained_on.found = checkpoint, state.pop(IMAGE_FEATURES, None)
        self.trained_with = trained if isinstance(trained, Mapping) else {}
        languages, folder = (self.cfg.source_lang, self.cfg.target_lang), utils.split_paths(self.cfg.data)[0]
        check_fingerprints(self.trained_with, self.fingerprints, languages, folder, checkpoint)
        super().load_state_dict(state)

    def build_bpe(self, args):
        check_merges(self.trained_with, args)
        return super().build_bpe(args)

    def build_model(self, cfg, from_checkpoint=False):
        """As fairseq's.

        Raises:
            IkdError: the model's options do not fit the dictionaries, or this machine; the model is to learn
                from features that are not there.
        """
        check_model_options(cfg, self.src_dict, self.tgt_dict)
        self._trains = not from_checkpoint
        if self._trains:
            check_precision(self.cfg, cfg)
            fit_to_features(cfg, self.cfg)
        else:
            self._trained_on.apply(cfg)
        model = super().build_model(cfg, from_checkpoint)
        self.models.append(model)
        return model

    def build_criterion(self, cfg, from_checkpoint=False):
        self.criterion = super().build_criterion(cfg, from_checkpoint)
        model = self.models[-1]
        check_criterion(self.criterion, model)
        warn_of_idle_parts(self.criterion, model)
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
        task = type(self)(copy.copy(self.cfg), self.src_dict, self.tgt_dict)
        task.cfg.eval_bleu = False
        with torch.random.fork_rng(devices=[]):
            self.teachers, _ = checkpoint_utils.load_model_ensemble(list(paths), decoding_overrides(), task)
        look_with(task.cfg, self.cfg, bool(self.models))
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
        look = not self._contracts or self._image_must is not None or self._criterion.uses_images
        return look and not self.cfg.image_free

    @property
    def _demands(self) -> Demands:
        """What the images of a split have to be, by the models that something shows them to."""
        learns = self._criterion.uses_images  # of a model in training that needs none itself
        looking = [m for m in self._contracts if m.requires_images or (learns and m in self.models)]
        sizes = {m.feature_channels if self.cfg.image_features else m.image_size for m in looking}
        must, asked_by = self._image_must, "--require-images" if self.cfg.require_images else None
        if must is not None and asked_by is None:
            asked_by = f"the image-must {'teacher ' if must in self.teachers else ''}{type(must).__name__}"
        regions = {m.feature_regions for m in looking} - {None}
        return Demands(self.cfg.image_features, sizes - {None}, asked_by, self.cfg.require_images, regions)

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split of text and, where something looks at them, its images or features.

        Raises:
            IkdError: there is no such split, or its images do not fit the text or the model, or are missing
                where they are required.
        """
        last, training = epoch, self._trains and split == self.cfg.train_subset
        if training and split not in self.datasets:  # what is wrong with a later shard is told at once
            last += len(utils.split_paths(self.cfg.data)) - 1
        for one in range(last, epoch - 1, -1):
            self._load_shard(split, one, training, combine, **kwargs)

    def _load_shard(self, split: str, epoch: int, training: bool, combine: bool, **kwargs) -> None:
        paths = utils.split_paths(self.cfg.data)
        folder = paths[(epoch - 1) % len(paths)] if training else paths[0]
        source, target, words = self.cfg.source_lang, self.cfg.target_lang, self.src_dict
        scored = self.criterion is not None  # and not only translated
        parts = split_parts(folder, split, (source, target), words, self.cfg.dataset_impl, combine, scored)
        check(
            bool(parts),
            f"{folder} holds no split {split} of {source}-{target} (such as "
            f"{split}.{source}-{target}.{source}.idx): run fairseq-preprocess, or name another split",
        )
        for part in parts:
            check_words_of(part.prefix, (source, target), (words, self.tgt_dict), paths[0])
        super().load_dataset(split, epoch, combine, **kwargs)
        if training and self.cfg.bpe_dropout:
            self._drop_merges(split, paths[0])
        times = self.cfg.upsample_primary
        answers = open_answers(parts, self._criterion, self.tgt_dict.symbols, training, times)
        teachers = self.teachers
        if answers is not None:
            self.teachers = []  # who have answered, and look at no image of this split
        if self.reads_images or self.cfg.require_images:
            self._add_images(split, parts, training)
        self.teachers = teachers
        if answers is not None:
            self.datasets[split] = TaughtPairDataset(self.datasets[split], answers, self.tgt_dict.pad())

    def _drop_merges(self, split: str, folder: str) -> None:
        check(
            not (self.cfg.bpe_dropout_target and self._criterion.teacher_cache),
            "--bpe-dropout-target makes other tokens than those that --teacher-cache answers: give one of "
            "the two",
        )
        codes, dropout = self.cfg.bpe_dropout_codes or os.path.join(folder, MERGES), self.cfg.bpe_dropout
        sides = {"source": self.src_dict} | ({"target": self.tgt_dict} if self.cfg.bpe_dropout_target else {})
        samplers = {side: SubwordSampler(codes, words, dropout) for side, words in sides.items()}
        self.datasets[split] = BpeDropoutDataset(self.datasets[split], samplers, self.cfg.seed)

    def _add_images(self, split: str, parts: list[Part], training: bool) -> None:
        images = open_split_images(parts, self._demands)
        if images is None and training and self._criterion.uses_images:
            message = "%s %s has no images, so nothing is distilled: run ikd-pack-images"
            logger.warning(message, parts[0].folder, parts[0].name)
        if images is not None and self.reads_images:
            shown = {FEATURES if self.cfg.image_features else IMAGES: images}
            if self._criterion.image_maps is not None:
                shown[FEATURES] = open_teacher_maps(parts, *self._criterion.image_maps)
            if training and self.cfg.image_share < 1:
                drawn = self.cfg.image_share, self.cfg.seed
                shown = {key: entries.thinned(*drawn) for key, entries in shown.items()}
                left = next(iter(shown.values())).coverage
                logger.info("--image-share %s: %d sentences keep an image", self.cfg.image_share, left)
            for key, entries in shown.items():  # upsampled after the draw, which is of sentences
                entries = upsampled(entries, parts, self.cfg.upsample_primary)
                self.datasets[split] = ImagePairDataset(self.datasets[split], key, entries)

    def build_dataset_for_inference(self, src_tokens, src_lengths, constraints=None):
        """Sentences typed in or given by a program (fairseq-interactive, hub): there is no image for them."""
        check(
            self.cfg.image_free or self._image_must is None,
            f"the image-must {type(self._image_must).__name__} needs an image for every sentence: "
            "use fairseq-generate on a split with a pack, or translate by the text path alone with "
            "--image-free",
        )
        return super().build_dataset_for_inference(src_tokens, src_lengths, constraints)

    def build_generator(self, models, args, *further, **kwargs):
        check_search(args)
        if not self.cfg.image_free:
            check_ensemble(models)
        return super().build_generator(views_of(models), args, *further, **kwargs)

    def inference_step(self, generator, models, sample, *args, **kwargs):
        models = views_of(models)  # a scorer asks these, a search those that it was built with
        # Images may be there for a teacher alone, and fairseq's own encoders take none.
        sample = {**sample, "net_input": inputs_of(sample["net_input"], *models)}
        with memory_by_sentence(generator, models):
            return super().inference_step(generator, models, sample, *args, **kwargs)

    def begin_epoch(self, epoch, model):
        super().begin_epoch(epoch, model)
        # Once: from then on, training alone changes the weights. --init-from takes zeros without a mask.
        if not (self._masks_checked or self.cfg.init_from):
            check_masks(model)
            self._masks_checked = True

    def train_step(self, sample, model, criterion, optimizer, update_num, ignore_grad=False):
        Divergence.update = update_num + 1
        if self.cfg.bf16_autocast:
            criterion = in_bf16(criterion, model)
        # A worker that has run out of batches repeats one, and its loss is dropped. A criterion that counts
        # images over all workers must not count those of the repeated batch.
        with logged_values_of(model) as values:
            loss, sample_size, logging_output = super().train_step(
                {**sample, IGNORED: ignore_grad}, model, criterion, optimizer, update_num, ignore_grad
            )
        if getattr(optimizer, "scaler", None) is None:  # with one a batch that overflows is skipped
            check_finite(logging_output)
        return loss, sample_size, {**logging_output, **values}

    def optimizer_step(self, optimizer, model, update_num):
        super().optimizer_step(optimizer, model, update_num)
        note_gpu_memory()

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
        trains, epoch = self._trains and self.criterion is not None, kwargs.get("epoch", 1)
        training = trains and dataset is self.datasets.get(self.cfg.train_subset)
        if not training or len(dataset) < required_batch_size_multiple:
            required_batch_size_multiple = 1  # fairseq would drop the last batch, which may be the only one
        if training and not (self.has_sharded_data("train") or kwargs.get("update_epoch_batch_itr")):
            # Batches are composed once, by seed and epoch. A training that goes on in a later epoch shall
            # have those of its first, as if it had not been cut off.
            if self.cfg.update_ordered_indices_seed is True:  # then fairseq adds the epoch to the seed
                kwargs["seed"] -= kwargs["epoch"] - 1
            kwargs["epoch"] = 1
        iterator = super().get_batch_iterator(
            dataset, *args, required_batch_size_multiple=required_batch_size_multiple, **kwargs
        )
        if training:  # fairseq says it only after the processes that load a resumed epoch have begun
            dataset.set_epoch(epoch)
            iterator.persistent_workers &= not self.cfg.bpe_dropout  # they would keep the draw of their first
        return iterator
