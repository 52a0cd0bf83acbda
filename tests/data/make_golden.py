#!/usr/bin/env python
"""Writes files of every format with the code of a checkout, and what that code makes of them.

    python tests/data/make_golden.py CHECKOUT OUTPUT

OUTPUT gets ``files.tar.xz`` and ``expected.json``; golden/README.md describes them.
Sentences are made up and images drawn here.
"""

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

WORDS = {"red": "rot", "green": "grün", "blue": "blau", "ball": "ball", "tree": "baum", "boat": "boot"}
COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220)}
SIZES = """--encoder-embed-dim 16 --encoder-ffn-embed-dim 16 --encoder-layers 1 --encoder-attention-heads 2
    --decoder-embed-dim 16 --decoder-ffn-embed-dim 16 --decoder-layers 1 --decoder-attention-heads 2
    --dropout 0"""
CNN = "--backbone efficientnet_lite0 --image-size 64"
SYSTEMS = {
    "ikd": f"""--arch ikd_transformer_tiny {CNN} --unpool depthwise --criterion inversion_distillation
        --teacher-weights random --kd-images-per-batch 2""",
    "gated_fusion": f"""--arch gated_fusion_tiny {CNN} --backbone-weights random
        --criterion label_smoothed_cross_entropy --no-save-optimizer-state""",
    "hallucination": f"""--arch hallucination_transformer_tiny {CNN} --hallucination-layers 1
        --criterion auxiliary_losses --backbone-weights random --no-save-optimizer-state""",
}
TRAINING = """--task multimodal_translation --label-smoothing 0.1 --optimizer adam --adam-betas (0.9,0.98)
    --lr 0.01 --lr-scheduler inverse_sqrt --warmup-updates 20 --max-tokens 150 --num-workers 0 --seed 1 --cpu
    --disable-validation --no-epoch-checkpoints --log-format json --log-interval 1"""
GENERATION = "--task multimodal_translation --beam 3 --max-len-b 12 --batch-size 4 --num-workers 0 --cpu"
DECODED = ("ikd", "gated_fusion", "hallucination", "exported", "pruned", "packed")
RETRIEVAL = """
import json, sys, torch
from fairseq.data import Dictionary
from ikd_fairseq.modules.image_index import load_image_index
words = Dictionary.load(sys.argv[1] + "/dict.en.txt")
tokens = torch.stack([words.encode_line(line, add_if_not_exist=False).long() for line in sys.argv[2:]])
found = {}
for kind in ("topic", "dense"):
    rows, valid = load_image_index(f"{sys.argv[1]}/image-index.{kind}.pt", kind, words).retrieve(tokens, 3)
    found[kind] = [rows.tolist(), valid.tolist()]
print(json.dumps(found))
"""
QUERIES = ["red ball green tree", "blue boat blue boat"]


def write_text_and_images(folder: Path) -> None:
    """Pairs of coloured things; in three sentences of four a picture of the first one's colour."""
    from PIL import Image, ImageDraw

    choose = random.Random(3)
    (folder / "images").mkdir(parents=True)
    for name, colour in COLOURS.items():
        picture = Image.new("RGB", (64, 64), colour)
        ImageDraw.Draw(picture).rectangle((8, 16, 40, 60), fill=colour[::-1])
        picture.save(folder / "images" / f"{name}.png")
    for split, count in {"train": 48, "test": 8}.items():
        lines = {"en": [], "de": [], "images.txt": []}
        for number in range(count):
            pairs = [
                (choose.choice(list(COLOURS)), choose.choice(["ball", "tree", "boat"])) for _ in range(2)
            ]
            source = [word for pair in pairs[: 1 + number % 2] for word in pair]
            lines["en"].append(" ".join(source))
            lines["de"].append(" ".join(WORDS[word] for word in source))
            lines["images.txt"].append(f"{source[0]}.png" if number % 4 else "")
        for ending, content in lines.items():
            (folder / f"{split}.{ending}").write_text("\n".join(content) + "\n", encoding="utf-8")


def simplify(path: Path) -> None:
    """Puts patterns of the same mean and deviation into student and Adam's moments: 36 MB become small."""
    import torch

    def pattern(tensor):
        if not tensor.is_floating_point() or tensor.numel() < 2:
            return tensor
        values = tensor.mean() + tensor.std() * (torch.arange(tensor.numel()) % 5 - 2) / 2**0.5
        return values.clamp(min=tensor.min()).view(tensor.shape)

    state = torch.load(path, weights_only=False)
    for moments in state["last_optimizer_state"]["state"].values():
        moments.update({key: pattern(moments[key]) for key in ("exp_avg", "exp_avg_sq")})
    model = state["model"]
    model.update({name: pattern(value) for name, value in model.items() if name.startswith("student.")})
    torch.save(state, path)


class Maker:
    """Runs the commands of *checkout* over the files in *work*."""

    def __init__(self, checkout: Path, work: Path):
        self.work = work
        (work / "ikd_fairseq").symlink_to(
            checkout / "ikd_fairseq"
        )  # so that no file names the checkout's folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        self.environment = {**os.environ, "PYTHONPATH": str(checkout), "PATH": path, "OMP_NUM_THREADS": "1"}

    def run(self, *parts) -> str:
        line = [word for part in parts for word in (part if isinstance(part, list) else str(part).split())]
        done = subprocess.run(line, env=self.environment, cwd=self.work, text=True, capture_output=True)
        if done.returncode:
            sys.exit(f"{line}:\n{done.stderr[-3000:]}")
        return done.stdout + done.stderr

    def make_data(self) -> None:
        write_text_and_images(self.work / "text")
        self.run(
            "fairseq-preprocess -s en -t de --joined-dictionary --workers 1 --destdir data"
            " --trainpref text/train --testpref text/test"
        )
        for split in ("train", "test"):
            self.run(
                f"ikd-pack-images --data data --split {split} --list text/{split}.images.txt --images"
                " text/images --image-size 64 --workers 1"
            )
        cnn = "--backbone efficientnet_lite0 --weights random"
        self.run(f"ikd-extract-features --data data --split test --name cnn {cnn}")
        self.run(f"ikd-build-image-index --data data --retriever topic --stop-share 0.9 --topics 4 {cnn}")
        self.run(f"ikd-build-image-index --data data --retriever dense --width 8 --epochs 5 {cnn}")

    def make_checkpoints(self) -> None:
        for system, options in SYSTEMS.items():
            self.run(
                "fairseq-train data",
                "--user-dir ikd_fairseq",
                SIZES,
                options,
                TRAINING,
                f"--max-update 200 --save-dir runs/{system}",
            )
            shutil.move(self.work / f"runs/{system}/checkpoint_last.pt", self.work / f"{system}.pt")
        simplify(self.work / "ikd.pt")
        self.run("ikd-export ikd.pt exported.pt")
        self.run("ikd-prune exported.pt pruned.pt --sparsity 0.3")
        self.run("ikd-prune pruned.pt packed.pt --pack")
        self.run(
            "ikd-cache-teacher data --split train --teacher-path gated_fusion.pt --name own --top-k 3"
            " --device cpu"
        )

    def expected(self) -> dict:
        found = {"translations": {}, "queries": QUERIES}
        for name in DECODED:
            output = self.run(
                "fairseq-generate data", "--user-dir ikd_fairseq", f"--path {name}.pt", GENERATION
            )
            lines = re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.MULTILINE)
            found["translations"][name] = {number: [text, float(score)] for number, score, text in lines}
        found["retrieved"] = json.loads(
            self.run([sys.executable, "-c", RETRIEVAL, "data", *QUERIES]).splitlines()[0]
        )
        return found

    def next_update(self) -> dict:
        """What the update after those of ``ikd.pt`` logs."""
        output = self.run(
            "fairseq-train data",
            "--user-dir ikd_fairseq",
            SIZES,
            SYSTEMS["ikd"],
            TRAINING,
            "--max-update 201 --restore-file ikd.pt --save-dir again --no-save",
        )
        (line,) = [
            line for line in output.splitlines() if '"num_updates": "201"' in line and '"loss"' in line
        ]
        return json.loads(line[line.index("{") :])


def main(checkout: str, output: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        maker = Maker(Path(checkout).resolve(), Path(folder))
        maker.make_data()
        maker.make_checkpoints()
        expected = {**maker.expected(), "next_update": maker.next_update()}
        Path(output).mkdir(parents=True, exist_ok=True)
        text = json.dumps(expected, indent=1, ensure_ascii=False) + "\n"
        (Path(output) / "expected.json").write_text(text, encoding="utf-8")
        with tarfile.open(Path(output) / "files.tar.xz", "w:xz", preset=9) as archive:
            for path in sorted(maker.work.glob("*.pt")) + sorted(maker.work.glob("data/*[!g]")):
                member = archive.gettarinfo(path, path.relative_to(maker.work))
                member.uid = member.gid = member.mtime = 0
                member.uname = member.gname = ""
                with path.open("rb") as content:
                    archive.addfile(member, content)


if __name__ == "__main__":
    main(*sys.argv[1:])
