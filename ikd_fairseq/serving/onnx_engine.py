"""Translation by onnxruntime with a beam search in numpy, in a process without torch and fairseq."""

import os
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import IkdError, check
from .engine import DECODER, ENCODER, Found, SearchOptions
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
        outermost = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]  # "4,2": 4, and 2 within each
        options.intra_op_num_threads = threads or int(outermost or 0)
        options.log_severity_level = 3
        try:
            self._encoder, self._decoder = (
                onnxruntime.InferenceSession(os.path.join(folder, file), options)
                for file in (ENCODER, DECODER)
            )
        except Exception as error:  # noqa: BLE001  onnxruntime's exceptions have no base of their own
            raise IkdError(f"{folder} is damaged ({error}): export the model again") from error
        self._given = [entry.name for entry in self._decoder.get_inputs()]
        check("rows" in self._given, f"{folder} is of an earlier version: export the model again")
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
            memory = self._encoder.run(None, {"tokens": batch})
            for number, hypotheses in zip(members, self._search(memory, options)):
                kept = sorted(hypotheses, key=lambda one: -one[0])[: options.nbest]
                yield (
                    number,
                    [(score, " ".join(self._words[word] for word in words)) for score, words in kept],
                )

    def _search(self, memory: list[Any], options: SearchOptions) -> list[list[tuple[float, list[int]]]]:
        """fairseq's beam search: until as many hypotheses as beams have ended, best by the mean of a word."""
        beam, live = options.beam, np.arange(memory[0].shape[1])  # live: the sentences that are not done
        finished: list[list[tuple[float, list[int]]]] = [[] for _ in live]
        target = np.full((len(live), 1, 1), _EOS, dtype=np.int64)  # sentences x hypotheses x words
        total = np.zeros((len(live), 1), dtype=np.float32)
        rows, past = live, [part[:, :, :0] for part in memory[1:]]
        for step in range(self.longest_target + 1):
            scores, words, past = self._step(target, rows, memory, past, min(2 * beam + 2, len(self._words)))
            words = words.reshape(len(live), -1)
            flat = (scores.reshape(*total.shape, -1) + total[:, :, None]).reshape(len(live), -1)
            best = np.argsort(-flat, axis=1, kind="stable")[:, : 2 * beam]
            best_scores, best_words = (np.take_along_axis(every, best, 1) for every in (flat, words))
            from_beam = best // (flat.shape[1] // total.shape[1])
            ends = (best_words == _EOS) & np.isfinite(best_scores)
            for row, rank in zip(*np.nonzero(ends[:, :beam])):
                if len(finished[live[row]]) < beam:
                    score = float(best_scores[row, rank]) / (step + 1) ** options.lenpen
                    finished[live[row]].append((score, target[row, from_beam[row, rank], 1:].tolist()))
            goes_on = np.array([len(finished[sentence]) < beam for sentence in live])
            if step == self.longest_target or not goes_on.any():
                break
            next_ones = np.argsort(ends, axis=1, kind="stable")[goes_on, :beam]  # the best that did not end
            total, next_words, from_beam = (
                np.take_along_axis(every[goes_on], next_ones, 1)
                for every in (best_scores, best_words, from_beam)
            )
            rows = (np.flatnonzero(goes_on)[:, None] * target.shape[1] + from_beam).ravel()
            target = np.take_along_axis(target[goes_on], from_beam[:, :, None], 1)
            target = np.concatenate([target, next_words[:, :, None]], axis=2)
            if not goes_on.all():
                live = live[goes_on]
                memory = [memory[0][:, goes_on], *(part[goes_on] for part in memory[1:])]
        return finished

    def _step(
        self, target: Any, rows: Any, memory: list[Any], past: list[Any], count: int
    ) -> tuple[Any, Any, list[Any]]:
        """The best *count* words of each hypothesis, without what may not come now, and the next past."""
        given = [target[:, :, -1].reshape(-1, 1), rows, np.array(count), *memory, *past]
        scores, words, end, *past = self._decoder.run(None, dict(zip(self._given, given)))
        if target.shape[2] > self.longest_target:
            scores, words = end[:, None], np.full((len(end), 1), _EOS)
        banned = (words == _PAD) | ((words == _EOS) & (target.shape[2] == 1))
        return np.where(banned, np.float32(-np.inf), scores), words, past
