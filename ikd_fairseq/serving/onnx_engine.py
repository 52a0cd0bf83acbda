"""Translation by onnxruntime with a beam search in numpy, in a process without torch and fairseq."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import IkdError
from .engine import DECODER, ENCODER, MAX_LENGTH, Found, SearchOptions
from .folder import FolderEngine
from .text import SPECIAL

_PAD, _EOS, _UNK = range(1, len(SPECIAL))


class OnnxEngine(FolderEngine):
    """A folder of ``ikd-export --format onnx``, loaded once.

    Args:
        folder: the export.
        cpu: onnxruntime's own package for processors runs there anyway.
        tokenizer: instead of the one that the export says.
        threads: of one translation; 0 leaves it to onnxruntime.

    Raises:
        IkdError: the folder is none of these, or onnxruntime is not installed or cannot load it.
    """

    def __init__(
        self, folder: str, cpu: bool = False, tokenizer: str | None = None, threads: int = 0, **others: Any
    ):
        super().__init__(folder, tokenizer, **others)
        try:
            import onnxruntime
        except ImportError as error:
            raise IkdError(f"{folder} needs onnxruntime ({error}): pip install onnxruntime") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or int(os.environ.get("OMP_NUM_THREADS") or 0)
        options.log_severity_level = 3
        try:
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(os.path.join(folder, file), options)
                for file in (ENCODER, DECODER)
            )
        except Exception as error:  # noqa: BLE001  onnxruntime's exceptions have no base of their own
            raise IkdError(f"{folder} is damaged ({error}): export the model again") from error
        words = (*SPECIAL, *self.facts.source_words)
        self._numbers = {word: number for number, word in enumerate(words)}
        self._words = (*SPECIAL, *self.facts.target_words)

    def translate(
        self, sentences: Sequence[str], options: SearchOptions, images: Sequence[Any] | None = None
    ) -> Iterator[Found]:
        """See :class:`.Engine`. A model of this format takes no images."""
        tokens = [[*(self._numbers.get(word, _UNK) for word in text.split()), _EOS] for text in sentences]
        order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
        for start in range(0, len(order), options.batch_size):
            members = order[start : start + options.batch_size]
            batch = np.full((len(members), max(len(tokens[n]) for n in members)), _PAD, dtype=np.int64)
            for row, number in enumerate(members):
                batch[row, : len(tokens[number])] = tokens[number]
            memory, mask = self._encoder.run(None, {"tokens": batch})
            for number, hypotheses in zip(members, self._search(memory, mask, options)):
                kept = sorted(hypotheses, key=lambda one: -one[0])[: options.nbest]
                yield (
                    number,
                    [(score, " ".join(self._words[word] for word in words)) for score, words in kept],
                )

    def _search(self, memory: Any, mask: Any, options: SearchOptions) -> list[list[tuple[float, list[int]]]]:
        """fairseq's beam search: until as many hypotheses as beams have ended, best by the mean of a word."""
        beam, live = options.beam, np.arange(len(mask))  # live: the sentences that are not done
        finished: list[list[tuple[float, list[int]]]] = [[] for _ in live]
        target = np.full((len(live), beam, 1), _EOS, dtype=np.int64)
        total = np.zeros((len(live), beam), dtype=np.float32)
        total[:, 1:] = -np.inf  # at first, all beams are one
        for step in range(MAX_LENGTH + 1):
            inputs = {"memory": memory[:, live].repeat(beam, axis=1), "mask": mask[live].repeat(beam, axis=0)}
            (scores,) = self._decoder.run(None, {"previous": target.reshape(len(live) * beam, -1), **inputs})
            types = scores.shape[1]
            scores[:, _PAD] = -np.inf
            if step == 0:
                scores[:, _EOS] = -np.inf
            if step == MAX_LENGTH:
                scores[:, np.arange(types) != _EOS] = -np.inf
            flat = (scores.reshape(len(live), beam, types) + total[:, :, None]).reshape(len(live), -1)
            best = np.argpartition(-flat, 2 * beam - 1, axis=1)[:, : 2 * beam]
            best = np.take_along_axis(best, np.argsort(-np.take_along_axis(flat, best, 1), axis=1), 1)
            best_scores, from_beam, words = np.take_along_axis(flat, best, 1), best // types, best % types
            ends = (words == _EOS) & np.isfinite(best_scores)
            for row, rank in zip(*np.nonzero(ends[:, :beam])):
                if len(finished[live[row]]) < beam:
                    score = float(best_scores[row, rank]) / (step + 1) ** options.lenpen
                    finished[live[row]].append((score, target[row, from_beam[row, rank], 1:].tolist()))
            goes_on = np.array([len(finished[sentence]) < beam for sentence in live])
            if step == MAX_LENGTH or not goes_on.any():
                break
            next_ones = np.argsort(ends, axis=1, kind="stable")[:, :beam]  # the best that did not end
            total = np.take_along_axis(best_scores, next_ones, 1)[goes_on]
            rows = np.take_along_axis(from_beam, next_ones, 1)
            target = np.concatenate(
                [
                    np.take_along_axis(target, rows[:, :, None], 1),
                    np.take_along_axis(words, next_ones, 1)[:, :, None],
                ],
                axis=2,
            )[goes_on]
            live = live[goes_on]
        return finished
