"""Figures of serving: exported models in other engines beside fairseq's own search."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from figures_decoding import by_size_and_beam
from report import Row, compared
from workers import Rounds, Worker

JOB = "serving_job:Serving"
SIZES = {"batch 1": {"batch": 1, "sentences": 24}, "batch 64": {"batch": 64, "sentences": 128}}
ROUNDS = 4
FAIRSEQ = "fairseq's search"
# Engines by name, with the options of ikd-export; text-only models go into all of them.
ENGINES = {
    "CTranslate2 float32": ("--format", "ctranslate2"),
    "CTranslate2 int8": ("--format", "ctranslate2", "--quantization", "int8"),
    "ONNX": ("--format", "onnx"),
}
_EXPORT = "import sys; from ikd_fairseq.cli.export import main; sys.exit(main())"


def serving(data: Path, scratch: Path, checkpoints: Sequence[Path]) -> Iterator[Row]:
    """Sentences that CTranslate2 and ONNX translate a second, against fairseq's search; size and BLEU.

    Each of the image-free models of ``--checkpoint``, on the test set of ``--data``, a folder of
    ``prepare.sh``: the same sentences in the same batches, a thread each, the plugin's settings of the
    allocator for fairseq. A model that is more than text goes into ONNX alone.
    """
    for number, checkpoint in enumerate(checkpoints):
        folder = scratch / f"serving-{number}"
        folder.mkdir()
        yield from _served(data, folder, checkpoint)


def _served(data: Path, scratch: Path, checkpoint: Path) -> Iterator[Row]:
    from ikd_fairseq.io.checkpoints import architecture_of, load_checkpoint
    from ikd_fairseq.serving.folder import read_facts

    _say(f"exporting {checkpoint}")
    model = scratch / "serving.pt"
    refused = _export(checkpoint, data, model)
    if refused:
        raise SystemExit(refused)
    files = {}
    for name, options in ENGINES.items():
        refused = _export(checkpoint, data, scratch / name, *options)
        if not refused:
            files[name] = scratch / name
        elif "ctranslate2" in options and "is no text-only Transformer" in refused:
            _say(f"no {name}: {refused}")
        else:
            raise SystemExit(refused)
    facts, _ = read_facts(str(files["ONNX"]))
    text = data / "bpe" / f"test.{facts.source}"
    title = f"serving, `{architecture_of(load_checkpoint(checkpoint))}`"
    with ExitStack() as stack:
        other, *ours = (
            stack.enter_context(Worker(JOB, model=str(file), sentences=str(text)))
            for file in (model, *files.values())
        )
        named = {f"{title}, {name}": worker for name, worker in zip(files, ours)}
        _say(f"{len(named) + 1} engines take {ROUNDS + 1} turns at {SIZES}, beam 1 and 5")
        yield from by_size_and_beam(named, FAIRSEQ, other, SIZES, ROUNDS)
        _say(f"all of {text} by each engine, beam 5, batch 64")
        references = (data / "reference" / f"test.{facts.target}").read_text(encoding="utf-8").splitlines()
        yield from _sizes_and_scores(named, other, [model, *files.values()], references)


def _sizes_and_scores(
    ours: dict[str, Worker], other: Worker, files: Sequence[Path], references: Sequence[str]
) -> Iterator[Row]:
    from ikd_fairseq.evaluation.metrics import compute_scores
    from ikd_fairseq.evaluation.translations import remove_bpe

    found = []
    for worker, file in zip((other, *ours.values()), files):
        answer = worker.do(batch=64, beam=5)
        lines = [remove_bpe(line) for line in answer["translations"]]
        score = compute_scores(lines, references, "tokenised", ["bleu"])["bleu"]["score"]
        found.append({"lines": lines, "BLEU": score, "MB": _megabytes(file)})
    first, *rest = found
    for figure, one in zip(ours, rest):
        same = sum(line == other for line, other in zip(one["lines"], first["lines"]))
        scores = f"BLEU {one['BLEU']:.2f}, {first['BLEU']:.2f}; {same:,} of {len(references):,} translations"
        rounds = Rounds(*([{"MB": entry["MB"], "BLEU": entry["BLEU"]}] for entry in (one, first)))
        values = f"{{ours:.1f}}, {{other:.1f}} MB; {scores} the same"
        yield compared(f"{figure}, size and BLEU", FAIRSEQ, rounds, "MB", values)


def _export(checkpoint: Path, data: Path, output: Path, *options: str) -> str:
    """Exports, and returns why that was refused, if it was."""
    command = [sys.executable, "-c", _EXPORT, str(checkpoint), str(output), "--data", str(data), *options]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return (done.stderr.splitlines() or ["no reason given"])[-1] if done.returncode else ""


def _megabytes(path: Path) -> float:
    files = [path] if path.is_file() else path.iterdir()
    return sum(file.stat().st_size for file in files) / 1e6


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
