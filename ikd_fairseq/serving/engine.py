"""What translates subwords: the promise that a checkpoint and every format keep."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from .text import TextFacts

# The number of a sentence, and score and subwords of its translations, the best first.
Found = tuple[int, list[tuple[float, str]]]

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"  # files of a folder in ONNX

MAX_LENGTH = 200  # of a translation in subwords, fairseq's --max-len-b


class SearchOptions(NamedTuple):
    """How translations are looked for; the defaults are those of fairseq-generate.

    Attributes:
        beam: hypotheses that are followed.
        nbest: translations that are returned of a sentence, up to *beam*.
        batch_size: sentences that are translated together.
        lenpen: the exponent of the length that a translation's score is divided by.
    """

    beam: int = 5
    nbest: int = 1
    batch_size: int = 64
    lenpen: float = 1.0


DEFAULT_SEARCH = SearchOptions()


class Engine(Protocol):
    """Translates subwords.

    Attributes:
        facts: what the text of the model went through.
        image_size: side of the square images that it needs, in pixels; None if it takes none.
        longest: subwords that a sentence may have.
    """

    facts: TextFacts
    image_size: int | None

    @property
    def longest(self) -> int: ...

    def translate(
        self, sentences: Sequence[str], options: SearchOptions, images: Sequence[Any] | None = None
    ) -> Iterator[Found]:
        """Translates *sentences*, none of them empty, in whatever order is fastest.

        Args:
            sentences: subwords parted by spaces.
            images: uint8 ``S x S x 3`` or None a sentence, for an engine with an ``image_size`` S.

        Yields:
            Each sentence once. A score is the natural logarithm of the probability, divided by the number of
            subwords, the end of the sentence among them.

        Raises:
            IkdError: the model needs images and there are none.
        """
        ...
