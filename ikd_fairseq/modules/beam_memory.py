"""Beam search in which the hypotheses of a sentence attend to one copy of its encoder output."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fairseq.models import BaseFairseqModel, FairseqIncrementalDecoder
from fairseq.sequence_generator import SequenceGenerator


@contextmanager
def memory_by_sentence(generator: Any, models: Sequence[BaseFairseqModel]) -> Iterator[None]:
    """Lets decoders keep keys and values of the source once a sentence, while *generator* runs.

    fairseq's attention can, if told the size of the beam, which only its BART does; it keeps one copy for
    each hypothesis else. The result is the same up to rounding. Outside of a beam search the setting would be
    wrong, hence taken back at the end.

    Args:
        generator: any; what is no beam search is left alone.
        models: those that it searches with.
    """
    searching = isinstance(generator, SequenceGenerator)
    parts = [getattr(model, "decoder", None) for model in models if searching]
    decoders = [part for part in parts if isinstance(part, FairseqIncrementalDecoder)]
    for decoder in decoders:
        decoder.set_beam_size(generator.beam_size)
    try:
        yield
    finally:
        for decoder in decoders:
            decoder.set_beam_size(1)
