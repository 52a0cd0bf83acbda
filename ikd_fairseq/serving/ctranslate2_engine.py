"""Translation by CTranslate2, in a process without torch and fairseq."""

import functools
import logging
from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import IkdError
from .engine import Found, SearchOptions
from .folder import FolderEngine

logger = logging.getLogger(__name__)


class CTranslate2Engine(FolderEngine):
    """A folder of ``ikd-export --format ctranslate2``, loaded once.

    Args:
        folder: the export.
        cpu: use no GPU even if there is one.
        tokenizer: instead of the one that the export says.
        threads: of one translation; 0 leaves it to CTranslate2 and ``OMP_NUM_THREADS``.

    Raises:
        IkdError: the folder is none of these, or CTranslate2 is not installed or cannot load it.
    """

    def __init__(
        self, folder: str, cpu: bool = False, tokenizer: str | None = None, threads: int = 0, **others: Any
    ):
        super().__init__(folder, tokenizer, **others)
        try:
            import ctranslate2
        except ImportError as error:
            raise IkdError(f"{folder} needs CTranslate2 ({error}): pip install ctranslate2") from error
        load = functools.partial(ctranslate2.Translator, folder, intra_threads=threads)
        if ctranslate2.get_cuda_device_count() and not cpu:
            try:
                self._translator = load(device="cuda")
                # It looks for its libraries of CUDA, which may be of another version than torch's, only now.
                self._translator.translate_batch([["."]], max_decoding_length=1)
                return
            except RuntimeError as error:
                logger.warning("CTranslate2 cannot use the GPU (%s), and translates on the CPU", error)
        try:
            self._translator = load(device="cpu")
        except (RuntimeError, ValueError) as error:
            raise IkdError(f"{folder} is damaged ({error}): export the model again") from error

    def translate(
        self, sentences: Sequence[str], options: SearchOptions, images: Sequence[Any] | None = None
    ) -> Iterator[Found]:
        """See :class:`.Engine`. A model of this format takes no images."""
        tokens = [text.split(" ") for text in sentences]
        found = self._translator.translate_iterable(
            tokens,
            max_batch_size=options.batch_size,
            batch_type="examples",
            beam_size=options.beam,
            num_hypotheses=options.nbest,
            length_penalty=options.lenpen,
            max_decoding_length=self.longest_target,
            max_input_length=0,
            return_scores=True,
        )
        for number, result in enumerate(found):
            yield number, [(score, " ".join(words)) for score, words in zip(result.scores, result.hypotheses)]
