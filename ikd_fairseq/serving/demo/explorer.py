"""What the page shows of a sentence: its translations, and what the model generates from it."""

import threading
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ...analysis.attention import head_weights
from ...analysis.clusters import nearest
from ...analysis.features import GENERATING, compared_features, load_trained, open_pictured, source_text
from ...analysis.inverse import to_pixels
from ...contracts import InvertingModel
from ...errors import check
from ..checkpoint_engine import CheckpointEngine
from ..engine import SearchOptions
from ..translator import SentenceTranslator, Translation

MOST_CHARACTERS = 5000
MOST_SUBWORDS = 40  # of a heat map that can be read
_SEARCH = SearchOptions(beam=5, nbest=5)
_NEIGHBOURS = 5
_MAX_TOKENS = 4096  # of a batch of the pack's sentences

ATTENTION, INVERSE, NEAREST = "attention", "inverse", "nearest"


class Neighbour(NamedTuple):
    """A real image, uint8 ``H x W x 3``, how similar it is, and the sentence that it belongs to."""

    image: np.ndarray
    similarity: float  # cosine of the generated feature and that of the image
    caption: str


@dataclass
class Answer:
    """What is known of a sentence.

    Attributes:
        translations: the best first.
        words: the sentence as the model reads it, the end included.
        unknown: those of *words* that the dictionary lacks.
        attention: of the first encoder layer, ``heads x (I+P) x I``.
        inverse: what the inverse CNN paints, uint8 ``H x W x 3``.
        neighbours: the nearest images of the pack, the nearest first.
        missing: by :data:`ATTENTION`, :data:`INVERSE` and :data:`NEAREST`, why there is none.
    """

    translations: list[Translation]
    words: list[str]
    unknown: list[str]
    attention: Tensor | None = None
    inverse: np.ndarray | None = None
    neighbours: list[Neighbour] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


class Explorer:
    """Translates sentences and looks into what is generated from them, one at a time.

    Args:
        checkpoint, tokenizer, image_free, cpu: see :class:`.CheckpointEngine`.
        data: folder with the dictionaries of the training and, for a model that generates regions, with the
            images of *split*.
        teacher_weights: of the CNN that looks at them, see :func:`.visual_features`.

    Raises:
        IkdError: the checkpoint cannot be used or needs images, or the split has none.
    """

    def __init__(
        self,
        checkpoint: str,
        data: str | None = None,
        split: str = "valid",
        teacher_weights: str | None = None,
        tokenizer: str | None = None,
        image_free: bool = False,
        cpu: bool = False,
    ):
        self.engine = CheckpointEngine(checkpoint, data, tokenizer, image_free, cpu, whole=True)
        check(
            self.engine.image_size is None,
            f"{checkpoint} looks at an image of every sentence, and the page takes none: give an image-free "
            "system, or translate by the text path alone with --image-free",
        )
        self.translator = SentenceTranslator(self.engine)
        self.split, self.gallery, self.missing = split, None, self._missing(checkpoint, data)
        if NEAREST not in self.missing:
            self._open_gallery(checkpoint, str(data), teacher_weights)
        self._turn = threading.Lock()  # a hook on the model must see one sentence at a time

    def _missing(self, checkpoint: str, data: str | None) -> dict[str, str]:
        model = self.engine.model
        if not isinstance(model, InvertingModel):
            nothing = f"{type(model).__name__} generates no regions from the text; {GENERATING} does"
            return dict.fromkeys((ATTENTION, INVERSE, NEAREST), nothing)
        missing = {}
        if model.encoder.no_text:
            missing[ATTENTION] = "The model was trained with --no-text: nothing in it attends to words"
        if model.student is None:
            missing[INVERSE] = (
                f"{checkpoint} has no inverse CNN, the student (ikd-export leaves it out): give ikd-demo the "
                "checkpoint that was exported"
            )
        if data is None:
            missing[NEAREST] = "There are no images to search: start ikd-demo with --data DATA"
        return missing

    def _open_gallery(self, checkpoint: str, data: str, weights: str | None) -> None:
        device = next(self.engine.model.parameters()).device.type
        trained = load_trained(checkpoint, data, device, GENERATING)
        dataset, self.pack = open_pictured(trained, self.split)
        self.gallery = compared_features(trained, dataset, self.pack, _MAX_TOKENS, True, weights)
        self.captions = [source_text(trained, dataset, number) for number in self.gallery.shown_by]

    def explore(self, sentence: str) -> Answer:
        """Raises :class:`IkdError` if *sentence* is empty or too long."""
        length = len(sentence)
        limit = f"the text has {length:,} characters, and the page takes {MOST_CHARACTERS:,}: split it"
        check(length <= MOST_CHARACTERS, limit)
        with self._turn:
            (translations,) = self.translator.translate([sentence], _SEARCH)
            check(translations, "there is nothing to translate: type a sentence")
            tokens = self.engine.tokens(subwords := self.translator.pipeline.subwords(sentence))
            dictionary = self.engine.task.source_dictionary
            words = [*subwords.split(), dictionary[dictionary.eos()]]
            unknown = [word for word, token in zip(words, tokens) if token == dictionary.unk()]
            answer = Answer(translations, words, unknown, missing=dict(self.missing))
            if isinstance(self.engine.model, InvertingModel):
                self._look(tokens, answer)
        return answer

    @torch.no_grad()
    def _look(self, tokens: Tensor, answer: Answer) -> None:
        """Fills in what a model generates from *tokens*, int64 ``I``."""
        model: Any = self.engine.model
        batch = tokens.unsqueeze(0).to(next(model.parameters()).device)
        with head_weights(model.encoder.layers[0].self_attn) as weights:
            regions = model.encoder(batch)["regions"][0]  # 1 x P x C
        if len(tokens) > MOST_SUBWORDS:
            limit = f"The sentence has {len(tokens):,} subwords, and the heat maps show up to {MOST_SUBWORDS}"
            answer.missing.setdefault(ATTENTION, limit)
        if ATTENTION not in answer.missing:
            answer.attention = weights[0][:, 0].float().cpu()
        if model.student is not None:
            painted = model.student(regions).image.float()
            answer.inverse = to_pixels(painted, model.backbone)[0].cpu().numpy()
        if self.gallery is not None:
            query = F.normalize(regions.mean(dim=1)[0].float().cpu() - self.gallery.centre, dim=0)
            places = nearest(query, self.gallery.seen, _NEIGHBOURS)
            similarities = (self.gallery.seen[places] @ query).tolist()
            answer.neighbours = [
                Neighbour(self.pack[int(self.gallery.shown_by[place])], similarity, self.captions[place])
                for place, similarity in zip(places, similarities)
            ]
