"""The job of a worker that serves: an engine loaded once, asked for the next sentences again and again."""

from pathlib import Path
from typing import Any

from ikd_fairseq.serving.engine import SearchOptions
from ikd_fairseq.serving.translator import SentenceTranslator


class Serving:
    """Translates *sentences*, a file of subwords, with *model*: what ``ikd-translate`` takes.

    Without what is before and behind the search: both ways would do the same there.
    """

    def __init__(self, model: str, sentences: str):
        threads = {"threads": 1} if Path(model).is_dir() else {}
        self.engine = SentenceTranslator.load(model, cpu=True, **threads).engine
        self.sentences = Path(sentences).read_text(encoding="utf-8").splitlines()
        self.next = 0

    def __call__(self, batch: int, beam: int, sentences: int | None = None) -> dict[str, Any]:
        """Translates the next *sentences*, *batch* at a time; without a number all, which it answers with."""
        options = SearchOptions(beam=beam, batch_size=batch)
        if sentences is None:
            found = sorted(self.engine.translate(self.sentences, options))
            return {"translations": [best[1] for _, (best, *_) in found]}
        rows = [(self.next + row) % len(self.sentences) for row in range(sentences)]
        self.next = (rows[-1] + 1) % len(self.sentences)
        found = list(self.engine.translate([self.sentences[row] for row in rows], options))
        return {"sentences": len(found)}
