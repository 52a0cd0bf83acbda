"""Plain sentences to plain translations, by a checkpoint or a folder that ``ikd-export`` wrote."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import check
from ..io.progress import progress
from .engine import DEFAULT_SEARCH, ENCODER, Engine, SearchOptions
from .text import TextPipeline


@dataclass(frozen=True)
class Translation:
    """One translation of a sentence.

    Attributes:
        text: plain, its punctuation where it belongs.
        score: natural logarithm of the probability by subword, see :class:`.Engine`.
    """

    text: str
    score: float


class SentenceTranslator:
    """Loads a model once, and translates as often as it is asked.

    Sentences are prepared as the training text was: punctuation normalised, tokenised, lower-cased and in
    subwords if the model is.
    """

    def __init__(self, engine: Engine):
        self.engine = engine
        self.pipeline = TextPipeline(engine.facts)

    @classmethod
    def load(cls, model: str | os.PathLike, **options: Any) -> "SentenceTranslator":
        """Loads *model*: a checkpoint, with the options of :class:`.CheckpointEngine`, or a folder of
        ``ikd-export --format ctranslate2`` or ``onnx``, with those of :class:`.CTranslate2Engine`.

        Raises:
            IkdError: it cannot be used.
        """
        engine: Engine
        if os.path.isfile(os.path.join(model, ENCODER)):
            from .onnx_engine import OnnxEngine

            engine = OnnxEngine(os.fspath(model), **options)
        elif os.path.isdir(model):
            from .ctranslate2_engine import CTranslate2Engine

            engine = CTranslate2Engine(os.fspath(model), **options)
        else:
            import fairseq  # noqa: F401  the plugin registers before the engine asks for parts of it

            from .checkpoint_engine import CheckpointEngine

            engine = CheckpointEngine(os.fspath(model), **options)
        return cls(engine)

    def translate(
        self,
        sentences: Sequence[str],
        options: SearchOptions = DEFAULT_SEARCH,
        images: Sequence[Any] | None = None,
        first: int = 1,
        show_progress: bool = False,
    ) -> list[list[Translation]]:
        """The best translations of every sentence, in the order of *sentences*; none of a blank one.

        Args:
            images: see :class:`.Engine`.
            first: number of the first sentence, for messages.

        Raises:
            IkdError: a sentence is too long for the model, or lacks the images that this needs.
        """
        check(not isinstance(sentences, str), "translate: give a list of sentences")
        check(options.nbest <= options.beam, f"nbest {options.nbest} is above the beam of {options.beam}")
        check(images is None or len(images) == len(sentences), "translate: give as many images as sentences")
        subwords = [self.pipeline.subwords(sentence) for sentence in sentences]
        longest = self.engine.longest
        for number, text in enumerate(subwords, start=first):
            count = len(text.split())
            check(
                count <= longest,
                f"sentence {number} has {count:,} subwords, and the model takes {longest:,}: split it",
            )
        places = [place for place, text in enumerate(subwords) if text]
        found: list[list[Translation]] = [[] for _ in sentences]
        if not places:
            return found
        some = None if images is None else [images[place] for place in places]
        results = self.engine.translate([subwords[place] for place in places], options, some)
        hidden = not show_progress
        for number, hypotheses in progress(results, total=len(places), unit=" sentences", disable=hidden):
            found[places[number]] = [
                Translation(self.pipeline.sentence(text), score) for score, text in hypotheses
            ]
        return found
