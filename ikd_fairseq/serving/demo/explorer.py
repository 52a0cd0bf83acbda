"""What the page shows of a sentence: its translations, and what the model generates from it."""

import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...analysis.attention import head_weights
from ...analysis.clusters import nearest
from ...analysis.features import (
    GENERATING,
    ComparedFeatures,
    compared_features,
    load_trained,
    open_pictured,
    source_text,
)
from ...analysis.inverse import to_pixels
from ...contracts import InvertingModel
from ...data.image_pack import ImagePack
from ...errors import check
from ..checkpoint_engine import CheckpointEngine
from ..engine import SearchOptions
from ..translator import SentenceTranslator, Translation

MOST_CHARACTERS = 5000
MOST_SUBWORDS = 40  # of heat maps that can be read
_SEARCH = SearchOptions(beam=5, nbest=5)
_NEIGHBOURS = 5
_MAX_TOKENS = 4096  # of a batch of the pack's sentences

ATTENTION, INVERSE, NEAREST = "attention", "inverse", "nearest"  # what there may be none of


class Neighbour(NamedTuple):
    """A real image, uint8 ``H x W x 3``, and the text of a sentence that it belongs to."""

    image: np.ndarray
    similarity: float  # cosine of the generated feature and the image's
    caption: str


@dataclass
class Answer:
    """What is known of a sentence of I subwords, the end included.

    Attributes:
        translations: the best first.
        words: the I subwords that the model reads.
        unknown: those of them that the dictionary lacks.
        missing: by :data:`ATTENTION`, :data:`INVERSE` and :data:`NEAREST`, why there is none.
        attention: weights of the first encoder layer, ``heads x (I+P) x I``.
        inverse: what the inverse CNN paints, uint8 ``H x W x 3``.
        neighbours: the most similar images of the pack, the nearest first.
    """

    translations: list[Translation]
    words: list[str]
    unknown: list[str]
    missing: dict[str, str]
    attention: Tensor | None = None
    inverse: np.ndarray | None = None
    neighbours: list[Neighbour] = field(default_factory=list)


class Gallery(NamedTuple):
    """The real images of a split to search."""

    split: str
    pack: ImagePack
    features: ComparedFeatures
    captions: list[str]  # by image, see ComparedFeatures.shown_by

    @classmethod
    def open(cls, checkpoint: str, data: str, split: str, device: str, weights: str | None) -> "Gallery":
        """The images of *split* in *data*, to compare with what *checkpoint* generates.

        Raises:
            IkdError: there are none, or *weights* of the CNN that cannot be had.
        """
        trained = load_trained(checkpoint, data, device, GENERATING)
        dataset, pack = open_pictured(trained, split)
        features = compared_features(trained, dataset, pack, _MAX_TOKENS, True, weights)
        captions = [source_text(trained, dataset, number) for number in features.shown_by]
        return cls(split, pack, features, captions)

    def nearest(self, regions: Tensor) -> list[Neighbour]:
        """The images most similar to generated *regions*, ``P x C``."""
        query = F.normalize(regions.mean(dim=0).float().cpu() - self.features.centre, dim=0)
        places = nearest(query, self.features.seen, _NEIGHBOURS)
        similarities = (self.features.seen[places] @ query).tolist()
        images = [self.pack[int(self.features.shown_by[place])] for place in places]
        return list(map(Neighbour, images, similarities, [self.captions[place] for place in places]))


def missing_parts(model: nn.Module, data: str | None) -> dict[str, str]:
    """Why there is no attention, inverse image or nearest one, where there is none."""
    encoder: Any = model.encoder
    if not isinstance(model, InvertingModel):
        reason = f"{type(model).__name__} generates no regions from the text, as {GENERATING} does"
        return dict.fromkeys((ATTENTION, INVERSE, NEAREST), reason)
    missing = {}
    if encoder.no_text:
        missing[ATTENTION] = "the model was trained with --no-text, so that nothing in it attends to words"
    if model.student is None:
        missing[INVERSE] = (
            "the checkpoint has no inverse CNN, the student (ikd-export leaves it out): give ikd-demo the "
            "one that was exported"
        )
    if data is None:
        missing[NEAREST] = "there are no images to search: give ikd-demo a data folder with --data"
    return missing


class Explorer:
    """Translates sentences and looks into what is generated from them, one at a time, whoever asks.

    Args:
        engine: with a model that needs no images.
        missing: of :func:`missing_parts`.
        gallery: None where the nearest images are missing.
    """

    def __init__(self, engine: CheckpointEngine, missing: dict[str, str], gallery: Gallery | None = None):
        self.engine, self.missing, self.gallery = engine, missing, gallery
        self.translator = SentenceTranslator(engine)
        self._turn = threading.Lock()  # weights are collected by a hook on the model

    @classmethod
    def open(
        cls,
        checkpoint: str,
        data: str | None = None,
        split: str = "valid",
        weights: str | None = None,
        **options: Any,
    ) -> "Explorer":
        """Opens a checkpoint, and the images of *split* if there is a *data* folder to find them in.

        Args:
            weights: of the CNN that looks at them, see :func:`.visual_features`.
            options: of :class:`.CheckpointEngine`.

        Raises:
            IkdError: the checkpoint cannot be used or needs images, or the split has none.
        """
        engine = CheckpointEngine(checkpoint, data, **options, whole=True)
        check(
            engine.image_size is None,
            f"{checkpoint} looks at an image of every sentence, and the page takes none: give an image-free "
            "system, or translate by the text path alone with --image-free",
        )
        missing = missing_parts(engine.model, data)
        if data is None or NEAREST in missing:
            return cls(engine, missing)
        device = next(engine.model.parameters()).device.type
        return cls(engine, missing, Gallery.open(checkpoint, data, split, device, weights))

    def explore(self, sentence: str) -> Answer:
        """Raises :class:`IkdError` if *sentence* is empty or too long."""
        length = len(sentence)
        limit = f"the text has {length:,} characters, and the page takes {MOST_CHARACTERS:,}: split it"
        check(length <= MOST_CHARACTERS, limit)
        with self._turn:
            (translations,) = self.translator.translate([sentence], _SEARCH)
            check(translations, "there is nothing to translate: type a sentence")
            subwords = self.translator.pipeline.subwords(sentence)
            tokens, dictionary = self.engine.tokens(subwords), self.engine.task.source_dictionary
            words = [*subwords.split(), dictionary[dictionary.eos()]]
            unknown = [word for word, token in zip(words, tokens) if token == dictionary.unk()]
            answer = Answer(translations, words, unknown, dict(self.missing))
            if isinstance(self.engine.model, InvertingModel):
                self._look(tokens, answer)
        return answer

    @torch.no_grad()
    def _look(self, tokens: Tensor, answer: Answer) -> None:
        """Adds to *answer* what the model generates from *tokens*, int64 ``I``."""
        model: Any = self.engine.model
        batch = tokens.unsqueeze(0).to(next(model.parameters()).device)
        with head_weights(model.encoder.layers[0].self_attn) as weights:
            regions = model.encoder(batch)["regions"][0]  # 1 x P x C
        if len(tokens) > MOST_SUBWORDS:
            limit = f"the sentence has {len(tokens):,} subwords, and heat maps are drawn of {MOST_SUBWORDS}"
            answer.missing.setdefault(ATTENTION, f"{limit} at most")
        if ATTENTION not in answer.missing:
            answer.attention = weights[0][:, 0].float().cpu()
        if model.student is not None:
            answer.inverse = to_pixels(model.student(regions).image.float(), model.backbone)[0].cpu().numpy()
        if self.gallery is not None:
            answer.neighbours = self.gallery.nearest(regions[0])
