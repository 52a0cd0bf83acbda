#!/usr/bin/env python
"""Trains the first updates of some systems from two checkouts and compares all terms to every digit.

    python tests/compare_losses.py --checkout ../before --checkout .

A change of structure must change no number: order of initialisation, random draws, sums. The systems are
those of the comparison with their own sizes and dropout, on drawn toy data, on one thread. Terms are compared
before they are rounded for printing, and so are the sums of the final weights. The status is 1 if something
differs; the lines say which system, update and term. Where a change does round otherwise, ``--relative 1e-4``
allows for it.

    python tests/compare_losses.py --checkout . --record tests/data/recorded_losses.json

writes what tests/integration/test_recorded_losses.py compares with, on any processor. There rounding must not
grow: no dropout (its draws depend on the processor), four updates with a small step. The gradient's norm is
left out: through a random CNN it differs by a thousandth where the losses agree to a millionth.
"""

import argparse
import json
import math
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGE_SIZE = 64
CNN = f"--backbone efficientnet_lite0 --image-size {IMAGE_SIZE}"
CROSS_ENTROPY = "--criterion translation"
AUXILIARY = "--criterion auxiliary_losses --backbone-weights random"
SYSTEMS = {
    "text": f"--arch transformer_mmt_tiny {CROSS_ENTROPY}",
    "ikd": f"--arch ikd_transformer_tiny {CNN} --unpool depthwise --criterion inversion_distillation"
    " --teacher-weights random",
    "gated-fusion": f"--arch gated_fusion_tiny {CNN} --backbone-weights random {CROSS_ENTROPY}",
    "imagination": f"--arch imagination_transformer_tiny {CNN} {AUXILIARY}",
    "hallucination": f"--arch hallucination_transformer_tiny {CNN} {AUXILIARY} --feature-warmup-updates 2",
    "retrieval-dense": f"--arch retrieval_transformer_tiny --retriever dense {CROSS_ENTROPY}",
}
OPTIMIZATION = """--label-smoothing 0.1 --optimizer adam --adam-betas (0.9,0.98) --lr 0.005
    --lr-scheduler inverse_sqrt --warmup-init-lr 1e-7 --warmup-updates 10 --max-tokens 150 --update-freq 2
    --seed 1 --num-workers 0 --cpu --log-format json --log-interval 1 --no-save --disable-validation"""
RECORDED = "--dropout 0 --lr 0.00001 --warmup-init-lr 1e-8 --max-update 4".split()
# Speed and memory, which differ from run to run.
_OF_THE_MACHINE = ("wall", "train_wall", "ups", "wps", "gb_free", "cuda_gb_allocated")


def write_toy_data(folder: Path, sentences: int = 90) -> None:
    """Sentence pairs, and a drawn picture for two of three: the same files on every machine."""
    from PIL import Image, ImageDraw

    choose = random.Random(7)
    words = [f"w{number}" for number in range(40)]
    (folder / "images").mkdir()
    english, german, names = [], [], []
    for number in range(sentences):
        source = [choose.choice(words) for _ in range(choose.randint(2, 12))]
        english.append(" ".join(source))
        german.append(" ".join(word.upper() for word in reversed(source)))
        names.append(f"{number}.png" if number % 3 else "")
        if names[-1]:
            picture = Image.new(
                "RGB", (IMAGE_SIZE, IMAGE_SIZE), tuple(choose.randrange(256) for _ in range(3))
            )
            for _ in range(4):
                left, top = choose.randrange(48), choose.randrange(48)
                colour = tuple(choose.randrange(256) for _ in range(3))
                ImageDraw.Draw(picture).rectangle((left, top, left + 20, top + 15), fill=colour)
            picture.save(folder / "images" / names[-1])
    for name, lines in (("train.en", english), ("train.de", german), ("images.txt", names)):
        (folder / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare(folder: Path) -> Path:
    """Writes, binarises and packs the toy data, with a dense index; returns the data folder."""
    from fairseq_cli import preprocess

    from ikd_fairseq.cli import build_image_index, pack_images

    write_toy_data(folder)
    data = folder / "data"
    sys.argv = f"fairseq-preprocess -s en -t de --joined-dictionary --trainpref {folder}/train".split()
    sys.argv += ["--destdir", str(data), "--workers", "1"]
    preprocess.cli_main()
    packing = f"--split train --image-size {IMAGE_SIZE} --workers 1".split()
    paths = ["--data", str(data), "--list", str(folder / "images.txt"), "--images", str(folder / "images")]
    pack_images.main([*paths, *packing])
    renamed = "--backbone-weights" in build_image_index.build_parser().format_help()  # in 0.2.0
    weights = "--backbone-weights" if renamed else "--weights"
    index = f"--retriever dense --backbone efficientnet_lite0 {weights} random --width 16 --epochs 2".split()
    build_image_index.main(["--data", str(data), *index])
    return data


def train(command_line: list[str]) -> dict:
    """Runs fairseq-train here; returns the terms of each update, unrounded, and the final weights' sums."""
    import torch
    from fairseq.logging import meters, metrics
    from fairseq.trainer import Trainer
    from fairseq_cli import train as fairseq_train

    torch.set_num_threads(1)
    meters.safe_round = lambda number, ndigits: number
    updates, trainers = [], []
    step = Trainer.train_step

    def recording_step(trainer, *args, **kwargs):
        with metrics.aggregate() as logged:
            result = step(trainer, *args, **kwargs)
        values = logged.get_smoothed_values()
        updates.append({k: float(v) for k, v in values.items() if k not in _OF_THE_MACHINE})
        trainers[:] = [trainer]
        return result

    Trainer.train_step = recording_step
    sys.argv = ["fairseq-train", *command_line]
    fairseq_train.cli_main()
    tensors = [t.double() for t in trainers[0].model.state_dict().values()]
    return {
        "updates": updates,
        "weights": math.fsum(t.sum().item() for t in tensors),
        "squared weights": math.fsum(t.square().sum().item() for t in tensors),
    }


def train_systems(checkout: str, data: Path, systems: list[str], options: list[str]) -> dict[str, dict]:
    """What :func:`train` returns for each of *systems*, each in a fork of this process."""
    from fairseq.criterions import CRITERION_REGISTRY

    results = {}
    for system in systems:
        line = [str(data), "--user-dir", f"{checkout}/ikd_fairseq", "--task", "multimodal_translation"]
        line += [*SYSTEMS[system].split(), *OPTIMIZATION.split(), *options]
        if "translation" not in CRITERION_REGISTRY:  # new in 0.2.0
            line = ["label_smoothed_cross_entropy" if word == "translation" else word for word in line]
        with tempfile.NamedTemporaryFile("r") as answer:
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    Path(answer.name).write_text(json.dumps(train(line)), encoding="utf-8")
                    status = 0
                finally:
                    sys.stderr.flush()
                    os._exit(status)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status:
                sys.exit(f"{system} failed in {checkout} with status {status}")
            results[system] = json.load(answer)
    return results


def _worker(checkout: str, folder: Path, systems: list[str], options: list[str]) -> None:
    import fairseq_cli.train  # noqa: F401  before the forks

    import ikd_fairseq

    found = Path(ikd_fairseq.__file__).resolve().parents[1]
    if found != Path(checkout).resolve():
        sys.exit(f"ikd_fairseq comes from {found} instead of {checkout}")
    data = folder / "data"
    if not data.exists():
        prepare(folder)
    print(json.dumps(train_systems(checkout, data, systems, options)), file=sys.__stdout__)


def start(checkout: str, folder: Path, systems: list[str], options: list[str]) -> subprocess.Popen:
    """Starts this file in a process that imports *checkout*; writes the toy data unless *folder* has it."""
    checkout = str(Path(checkout).resolve())
    environment = {**os.environ, "PYTHONPATH": checkout, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    line = [sys.executable, "-P", __file__, "--worker", str(folder), "--checkout", checkout]
    line += ["--systems", *systems, "--options", " ".join(options)]
    return subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=folder
    )


def result(process: subprocess.Popen) -> dict[str, dict]:
    """Waits for what :func:`start` started: what it measured, or an exit that says what went wrong."""
    output, errors = process.communicate()
    if process.returncode:
        sys.exit(errors[-4000:])
    return json.loads(output.splitlines()[-1])


def losses(results: dict[str, dict]) -> dict[str, dict]:
    """*results* of :func:`result` without what differs between processors; see the module's docstring."""
    for system in results.values():
        for update in system["updates"]:
            del update["gnorm"]
    return results


def differences(first: dict[str, dict], second: dict[str, dict], relative: float = 0) -> list[str]:
    """One line for each number of *second* that is not that of *first*, within *relative* of the latter."""
    lines = []

    def compare(where: str, a: float | None, b: float | None) -> None:
        if a is None or b is None or not math.isclose(a, b, rel_tol=0, abs_tol=relative * abs(a)):
            lines.append(f"{where}: {a!r} and {b!r}")

    for system, expected in first.items():
        pairs = zip(expected["updates"], second[system]["updates"], strict=True)
        for number, (a, b) in enumerate(pairs, start=1):
            for term in sorted(a.keys() | b.keys()):
                compare(f"{system}, update {number}, {term}", a.get(term), b.get(term))
        for name in ("weights", "squared weights"):
            compare(f"{system}, sum of the final {name}", expected[name], second[system][name])
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--checkout", action="append", required=True, help="folder of a checkout; give it twice"
    )
    parser.add_argument("--systems", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    parser.add_argument("--updates", type=int, default=20, help="(default: %(default)s)")
    parser.add_argument("--options", default="", help="further options of fairseq-train, in one word")
    parser.add_argument("--relative", type=float, default=0, help="share by which two numbers may differ")
    parser.add_argument("--record", type=Path, help="write the values of the one checkout to this file")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        _worker(args.checkout[0], args.worker, args.systems, args.options.split())
        return 0
    if len(args.checkout) != (1 if args.record else 2):
        parser.error("give two checkouts to compare, or one and --record")
    options = RECORDED if args.record else ["--max-update", str(args.updates)]
    with tempfile.TemporaryDirectory() as folder:
        results = [
            result(start(c, Path(folder), args.systems, [*options, *args.options.split()]))
            for c in args.checkout
        ]
    if args.record:
        args.record.write_text(json.dumps(losses(results[0]), indent=1) + "\n", encoding="utf-8")
        return 0
    lines = differences(*results, args.relative)
    print("\n".join(lines) or f"{', '.join(args.systems)}: no difference in {args.updates} updates")
    return bool(lines)


if __name__ == "__main__":
    sys.exit(main())
