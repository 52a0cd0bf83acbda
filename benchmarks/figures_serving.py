"""Figures of serving: a text-only model in CTranslate2 beside fairseq's own search."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from figures_decoding import by_size_and_beam
from report import Row
from workers import Worker

JOB = "serving_job:Serving"
SIZES = {"batch 1": {"batch": 1, "sentences": 24}, "batch 64": {"batch": 64, "sentences": 128}}
_EXPORT = "import sys; from ikd_fairseq.cli.export import main; sys.exit(main())"


def serving(data: Path, scratch: Path, checkpoint: Path) -> Iterator[Row]:
    """Sentences that CTranslate2 translates a second, against fairseq's search, by type, batch and beam.

    The text-only model of ``--checkpoint`` on the test set of ``--data``, a folder of ``prepare.sh``: the
    same sentences in the same batches, a thread each, the plugin's settings of the allocator for fairseq.
    """

    def export(name: str, *options: str) -> str:
        command = [sys.executable, "-c", _EXPORT, str(checkpoint), str(scratch / name), "--data", str(data)]
        subprocess.run([*command, *options], check=True, stdout=subprocess.DEVNULL)
        return str(scratch / name)

    from ikd_fairseq.serving.translator import SentenceTranslator

    model = export("serving.pt")
    folders = {
        kind: export(kind, "--format", "ctranslate2", "--quantization", kind) for kind in ("float32", "int8")
    }
    source = SentenceTranslator.load(folders["int8"], cpu=True).engine.facts.source
    text = str(data / "bpe" / f"test.{source}")
    for kind, folder in folders.items():
        with (
            Worker(JOB, model=folder, sentences=text) as ours,
            Worker(JOB, model=model, sentences=text) as other,  # anew, so that both are at one sentence
        ):
            figure = f"serving, CTranslate2 {kind}"
            yield from by_size_and_beam(figure, "fairseq's search", ours, other, SIZES)
