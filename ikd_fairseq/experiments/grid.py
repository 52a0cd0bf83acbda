"""The runs of a plan on prepared data: folders, test sets and settings, checked before any of them begins.

    OUT/PAIR/SYSTEM-seedN        a run (OUT/TEXT/PAIR/SYSTEM-seedN where the plan has several texts)
    OUT/data/PAIR-TEXT           data made for the grid: masked text, or what the teacher wrote

Nothing here imports torch or fairseq.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import IkdError, check
from .plan import MASKED, ORIGINAL, Plan, Row

MASK_TOKEN = "[U]"
POSITIONS = {"colour": ("color",), "entity": ("noun", "nouns", "people")}  # the annotation of Multi30K


@dataclass(frozen=True)
class Run:
    """One run of a grid.

    Attributes:
        data: what it is trained on; need not be there yet.
        test_data: whose test sets it translates.
        tests: those that it can translate: an image-must system needs images there.
        start: folder of the run from whose average it goes on.
    """

    row: Row
    pair: str
    seed: int
    folder: Path
    data: Path
    test_data: Path
    tests: tuple[str, ...]
    start: Path | None


@dataclass(frozen=True)
class Grid:
    """A plan, with *data* (DATA/PAIR that prepare.sh made, or one such folder), run in the folder *out*."""

    plan: Plan
    data: Path
    out: Path

    def prepared(self, pair: str) -> Path:
        """What prepare.sh made of *pair*."""
        return self.data if (self.data / "code").is_file() else self.data / pair

    def data_of(self, pair: str, text: str) -> Path:
        """The data of a text: prepared before, or made for the grid."""
        return self.prepared(pair) if text == ORIGINAL else self.out / "data" / f"{pair}-{text}"

    def tests(self, pair: str) -> tuple[str, ...]:
        """The sets to score: those of the plan, or all test sets."""
        references = (self.prepared(pair) / "reference").glob(f"test*.{pair.split('-')[1]}")
        return self.plan.tests or tuple(sorted(path.stem for path in references))

    def has_images(self, pair: str, split: str) -> bool:
        """Whether some sentence of *split* has an image."""
        return (self.prepared(pair) / f"{split}.images.npy").is_file()

    def folder(self, pair: str, text: str, name: str, seed: int) -> Path:
        """The folder of a run."""
        within = self.out / text if len(self.plan.texts) > 1 else self.out
        return within / pair / f"{name}-seed{seed}"

    def runs(self) -> Iterator[Run]:
        """All runs, seed by seed."""
        for pair in self.plan.pairs:
            for seed in self.plan.seeds:
                for row in self.plan.rows:
                    yield self._run(row, pair, seed)

    def _run(self, row: Row, pair: str, seed: int) -> Run:
        # Students are tested on the original text; on masked text the same words are masked at test.
        masked = row.text in MASKED
        must_see = row.system.images == "test"
        return Run(
            row,
            pair,
            seed,
            self.folder(pair, row.text, row.system.name, seed),
            self.data_of(pair, row.text),
            self.data_of(pair, row.text if masked else ORIGINAL),
            tuple(split for split in self.tests(pair) if self.has_images(pair, split) or not must_see),
            self.folder(pair, row.text, row.start, seed) if row.start else None,
        )

    def settings(self, run: Run) -> str:
        """What the weights of *run* depend on beside its data's images, on one line."""
        protocol, row = self.plan.protocol, run.row
        made_from = (self.prepared(run.pair) / "made-from.txt").read_text(encoding="utf-8").strip()
        settings = {
            "system": row.system.like,
            "seed": run.seed,
            "updates": row.updates,
            "epochs kept": protocol.average,
            "CNN": protocol.backbone,
            "options": " ".join(row.options),
            "data": f"{made_from}{self._images(run.pair)}",
            "text": row.text,
        }
        return json.dumps(settings, ensure_ascii=False)

    def _images(self, pair: str) -> str:
        manifest = self.prepared(pair) / "train.images.json"
        if not manifest.is_file():
            return ""
        pack = json.loads(manifest.read_text(encoding="utf-8"))
        of_all = f"{pack['sentences_with_image']} of {pack['sentences']} sentences"
        return f"; images of {pack['image_size']} px for {of_all}"

    def check_data(self) -> None:
        """Refuses a grid that could not be run to its end.

        Raises:
            IkdError: data, test sets, images or the teacher are missing.
        """
        for pair in self.plan.pairs:
            folder, language = self.prepared(pair), pair.split("-")[1]
            check(
                (folder / f"train.{pair}.{language}.idx").is_file(),
                f"{folder} holds no {pair} that prepare.sh made: give data=DATA, or plan other pairs",
            )
            tests = self.tests(pair)
            check(bool(tests), f"{folder}/reference holds no test set: run prepare.sh again")
            for split in tests:
                check(
                    (folder / "bpe" / f"{split}.{language}").is_file()
                    or (folder / "reference" / f"{split}.{language}").is_file(),
                    f"{self.plan.file} tests {split}, but {folder} has no such split: leave it out",
                )
            self._check_images(pair)
        if self.plan.distillation:
            for checkpoint in self.plan.distillation.teacher.split(":"):
                check(
                    Path(checkpoint).is_file(), f"there is no checkpoint {checkpoint}: name another teacher"
                )

    def _check_images(self, pair: str) -> None:
        manifest = self.prepared(pair) / "train.images.json"
        pictured = any(self.has_images(pair, split) for split in self.tests(pair))
        for row in self.plan.rows:
            name, images = row.system.name, row.system.images
            check(
                images == "none" or manifest.is_file(),
                f"{manifest} is missing, and {name} needs images: prepare them, or leave it out of the plan",
            )
            check(
                images != "test" or pictured,
                f"no test set in {manifest.parent} has images, which {name} needs: leave it out of the plan",
            )

    def check_texts(self, folder: Path | None, masks: Path | None) -> None:
        """Refuses masked texts without the original one, or with an annotation that lacks files.

        Args:
            folder: text, image_splits and images, as prepare.sh takes them.
            masks: ``color.position``, ``noun.position`` and so on, if words are annotated.

        Raises:
            IkdError: a folder or file is missing.
        """
        masked = [text for text in self.plan.texts if text != ORIGINAL]
        if not masked:
            return
        if folder is None:
            raise IkdError(f"{self.plan.file} masks words of the original text: give folder=FOLDER")
        check((folder / "text").is_dir(), f"folder={folder} has no text/ (see prepare.sh --help)")
        if masks is not None:
            for name in (name for text in masked for name in POSITIONS[text]):
                check((masks / f"{name}.position").is_file(), f"masks={masks} has no {name}.position")
