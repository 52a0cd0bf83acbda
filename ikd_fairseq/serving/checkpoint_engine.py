"""Translation by fairseq's search: any checkpoint that fairseq-generate takes, with or without images."""

import os
from collections.abc import Iterable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from fairseq import checkpoint_utils
from fairseq.data import LanguagePairDataset
from fairseq.dataclass.configs import GenerationConfig

from ..constants import IMAGES, TEXT
from ..contracts import ModelContract, contract_of, decoding_overrides, parts_for_training
from ..data.by_sentence import BySentence
from ..data.pairs.image_pair_dataset import ImagePairDataset
from ..errors import check
from ..io.checkpoints import architecture_of, config_section, load_checkpoint
from ..modules.search import search
from ..tasks.multimodal_translation import MultimodalTranslationConfig, MultimodalTranslationTask
from .engine import Found, SearchOptions
from .facts import dictionary_of, facts_of_checkpoint
from .text import TextFacts


def load_model(
    checkpoint: str,
    facts: TextFacts,
    image_free: bool = False,
    data: str | None = None,
    kept: Iterable[str] = (),
) -> tuple[MultimodalTranslationTask, torch.nn.Module]:
    """The model of a checkpoint in eval mode, on the CPU, and a task with the dictionaries of *facts*.

    Needs no data folder, but for a model that retrieves images by an index in it, *data*. *kept* are parts
    for training to load too, see :func:`.parts_for_training`.

    Raises:
        IkdError: the checkpoint cannot be used, or has other dictionaries.
    """
    cfg = MultimodalTranslationConfig(data=data or checkpoint, image_free=image_free)
    cfg.source_lang, cfg.target_lang = facts.source, facts.target
    source = dictionary_of(facts.source_words)
    target = source if facts.target_words == facts.source_words else dictionary_of(facts.target_words)
    task = MultimodalTranslationTask(cfg, source, target)
    (model,), _ = checkpoint_utils.load_model_ensemble([checkpoint], decoding_overrides(kept), task)
    return task, model.eval()


class CheckpointEngine:
    """A checkpoint, loaded once.

    Args:
        checkpoint: exported, or as training left it.
        data, tokenizer: see :func:`.facts_of_checkpoint`.
        image_free: translate by the text path alone.
        cpu: use no GPU even if there is one.
        whole: load what only training needs too, as far as the checkpoint has it.

    Attributes:
        facts: what its text went through.
        image_size: side of the images that it needs, in pixels; None if it takes none.

    Raises:
        IkdError: the checkpoint cannot be used, or it needs features that no image file holds.
    """

    def __init__(
        self,
        checkpoint: str,
        data: str | None = None,
        tokenizer: str | None = None,
        image_free: bool = False,
        cpu: bool = False,
        whole: bool = False,
    ):
        checkpoint = os.fspath(checkpoint)
        state = load_checkpoint(checkpoint)
        self.facts = facts_of_checkpoint(state, checkpoint, data, tokenizer)
        kept = parts_for_training(state["model"], architecture_of(state)) if whole else ()
        if data is None and state.get(TEXT) is None:
            data = config_section(state, "task").get("data")
        self.task, self.model = load_model(checkpoint, self.facts, image_free, data, kept)
        contract = contract_of(self.model, ModelContract)
        self._needs_images = contract.requires_images and not image_free
        self.image_size = contract.image_size if self._needs_images else None
        features = config_section(state, "task").get("image_features")
        check(
            not (self._needs_images and (features or self.image_size is None)),
            f"{checkpoint} looks at features ({features}), which image files do not hold: use "
            "fairseq-generate, or translate by its text path alone with --image-free",
        )
        device = "cuda" if torch.cuda.is_available() and not cpu else "cpu"
        self.model.to(device, dtype=torch.float32)
        self.model.prepare_for_inference_(SimpleNamespace(generation=GenerationConfig()))

    def translate(
        self, sentences: Sequence[str], options: SearchOptions, images: Sequence[Any] | None = None
    ) -> Iterator[Found]:
        """See :class:`.Engine`."""
        check(
            not self._needs_images or images is not None,
            "this model looks at an image of every sentence: give --images and --list, or translate by its "
            "text path alone with --image-free",
        )
        tokens = [self.tokens(text) for text in sentences]
        lengths = np.array([len(line) for line in tokens])
        words, others = self.task.source_dictionary, self.task.target_dictionary
        pairs = LanguagePairDataset(tokens, lengths, words, tgt_dict=others)
        dataset = pairs
        if images is not None:
            shape = (self.image_size, self.image_size, 3)
            dataset = ImagePairDataset(pairs, IMAGES, BySentence.of(images, shape, np.uint8))
        config = GenerationConfig(beam=options.beam, nbest=options.nbest, lenpen=options.lenpen)
        order = np.arange(len(tokens))
        found = search(self.task, [self.model], dataset, order, config, None, options.batch_size)
        for number, hypotheses in found:
            kept = hypotheses[: options.nbest]
            yield number, [(float(one["score"]), others.string(one["tokens"].int().cpu())) for one in kept]

    def tokens(self, subwords: str) -> torch.Tensor:
        """A sentence as the model reads it, its end included: int64 ``I``."""
        return self.task.source_dictionary.encode_line(subwords, add_if_not_exist=False).long()

    @property
    def longest(self) -> int:
        """Subwords that a sentence may have, its end not among them."""
        return int(self.model.encoder.max_positions()) - 1
