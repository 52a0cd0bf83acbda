"""fairseq's search in this process, so that models are loaded once for all that they translate."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from fairseq import utils
from fairseq.data import LanguagePairDataset
from fairseq.dataclass.configs import GenerationConfig
from fairseq.models import BaseFairseqModel
from fairseq.tasks import FairseqTask

from ..errors import check

# A hypothesis as fairseq's search returns it: "tokens" (int64, with the end of sentence), "score" and more.
Hypothesis = dict[str, Any]


def check_lengths(
    dataset: LanguagePairDataset,
    sentences: Sequence[int] | np.ndarray,
    max_tokens: int | None,
    max_positions: int,
) -> None:
    """Refuses sentences longer than a batch or than what the encoder takes. Raises :class:`IkdError`."""
    lengths = dataset.num_tokens_vec(np.asarray(sentences, dtype=np.int64))
    if not len(lengths):
        return
    longest, tokens = sentences[lengths.argmax()], lengths.max()
    batched = max_tokens is None or tokens <= max_tokens
    check(batched, f"--max-tokens {max_tokens}: sentence {longest} alone has {tokens}")
    more = f"sentence {longest} has {tokens} tokens, more than the {max_positions} positions of the model"
    check(tokens <= max_positions, f"{more}: leave it out of the data")


def batches(
    dataset: LanguagePairDataset,
    sentences: Sequence[int] | np.ndarray,
    max_tokens: int | None,
    max_positions: int,
    max_sentences: int | None = None,
) -> Iterator[dict[str, Any]]:
    """Batches of the given *sentences* as fairseq collates them, short ones first.

    Args:
        sentences: distinct numbers, in any order; ``batch["id"]`` tells which are in a batch.
        max_tokens, max_sentences: of a batch, padding included; None for any number.
        max_positions: tokens that the model's encoder takes.

    Raises:
        IkdError: a sentence is too long.
    """
    check_lengths(dataset, sentences, max_tokens, max_positions)
    indices = np.asarray(sentences, dtype=np.int64)
    indices = indices[np.argsort(dataset.num_tokens_vec(indices), kind="stable")]
    for members in dataset.batch_by_size(indices, max_tokens=max_tokens, max_sentences=max_sentences):
        yield dataset.collater([dataset[sentence] for sentence in members])


def search(
    task: FairseqTask,
    models: Sequence[BaseFairseqModel],
    dataset: LanguagePairDataset,
    sentences: Sequence[int] | np.ndarray,
    config: GenerationConfig,
    max_tokens: int | None = 4096,
    max_sentences: int | None = None,
) -> Iterator[tuple[int, list[Hypothesis]]]:
    """Translates *sentences* in batches of similar length.

    Args:
        models: an ensemble, in eval mode, on one device.
        dataset: with the images that the models are to see, if any.
        sentences, max_tokens, max_sentences: as :func:`batches` takes them.

    Yields:
        A sentence's number and its hypotheses, the best by the models' score first.

    Raises:
        IkdError: a sentence is too long, or lacks an image that a model cannot do without.
    """
    generator = task.build_generator(models, config)
    max_positions = min(model.encoder.max_positions() for model in models)
    on_gpu = next(models[0].parameters()).is_cuda
    for batch in batches(dataset, sentences, max_tokens, max_positions, max_sentences):
        numbers = batch["id"].tolist()
        if on_gpu:
            batch = utils.move_to_cuda(batch)
        yield from zip(numbers, task.inference_step(generator, models, batch))
