"""Translation by CTranslate2, in a process without torch and fairseq."""

from collections.abc import Iterator, Sequence
from typing import Any

from ..errors import IkdError
from .engine import Found, SearchOptions
from .folder import FolderEngine


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
        device = "cuda" if ctranslate2.get_cuda_device_count() and not cpu else "cpu"
        try:
            self._translator = ctranslate2.Translator(folder, device=device, intra_threads=threads)
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
