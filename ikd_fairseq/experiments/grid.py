"""The runs of a plan on prepared data: folders, test sets and settings, checked before any of them begins.

    OUT/PAIR/SYSTEM-seedN        a run (OUT/TEXT/PAIR/SYSTEM-seedN where the plan has several texts)
    OUT/data/PAIR-TEXT           data made for the grid: masked text, or what the teacher wrote

Nothing here imports torch or fairseq.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..constants import FEATURES_MANIFEST_SUFFIX, IMAGES_SUFFIX, MERGES
from ..errors import IkdError, check
from ..evaluation.references import references_file
from ..io.checksums import sha256_of_file
from ..io.manifests import read_json
from .plan import MASKED, ORIGINAL, TAUGHT, Plan, Row
from .tables import LAYOUTS

MASK_TOKEN = "[U]"
MADE_WITH = "made-with.json"  # in the folder of a run: its settings
_FEATURES = ("--image-features", "--teacher-features")
POSITIONS = {"colour": ("color",), "entity": ("noun", "nouns", "people")}  # the annotation of Multi30K


@dataclass(frozen=True)
class Run:
    """One run of a grid."""

    row: Row
    pair: str
    seed: int
    folder: Path
    data: Path  # what it is trained on; need not be there yet
    test_data: Path  # whose test sets it translates
    tests: tuple[str, ...]  # those that it can translate: an image-must system needs images there
    start: Path | None  # average of the run that it goes on from

    @property
    def first_checkpoint(self) -> Path | None:
        """What its training begins with: *start*, pruned if it is to be."""
        return self.folder / "pruned.pt" if self.row.sparsity else self.start


@dataclass(frozen=True)
class Grid:
    """A plan, with *data* (DATA/PAIR that prepare.sh made, or one such folder), run in the folder *out*.

    Attributes:
        masks: the folder of ``color.position``, ``noun.position`` and so on, if words are annotated.
    """

    plan: Plan
    data: Path
    out: Path
    masks: Path | None = None

    def prepared(self, pair: str) -> Path:
        """What prepare.sh made of *pair*."""
        return self.data if (self.data / MERGES).is_file() else self.data / pair

    def tests(self, pair: str) -> tuple[str, ...]:
        """The sets to score: those of the plan, or all test sets."""
        references = (self.prepared(pair) / "reference").glob(f"test*.{pair.split('-')[1]}")
        return self.plan.tests or tuple(sorted(path.stem for path in references))

    def runs(self) -> Iterator[Run]:
        """All runs, seed by seed."""
        for pair in self.plan.pairs:
            pictured = self._pictured(pair)
            for seed in self.plan.seeds:
                for row in self.plan.rows:
                    within = self.out / row.text if len(self.plan.texts) > 1 else self.out
                    prepared = self.prepared(pair)
                    data = prepared if row.text == ORIGINAL else self.out / "data" / f"{pair}-{row.text}"
                    yield Run(
                        row,
                        pair,
                        seed,
                        within / pair / f"{row.system.name}-seed{seed}",
                        data,
                        # Students are tested on the original text; masked text is masked at test too.
                        data if row.text in MASKED else prepared,
                        pictured if row.system.images == "test" else self.tests(pair),
                        within / pair / f"{row.start}-seed{seed}" / "average.pt" if row.start else None,
                    )

    def _pictured(self, pair: str) -> tuple[str, ...]:
        """Test sets of which some sentence has an image."""
        return tuple(split for split in self.tests(pair) if self._has_images(pair, split))

    def _has_images(self, pair: str, split: str) -> bool:
        return (self.prepared(pair) / f"{split}{IMAGES_SUFFIX}").is_file()

    def settings(self, run: Run) -> dict[str, Any]:
        """What the weights of *run* depend on: JSON. A run of other settings is another one."""
        folder, images = self.prepared(run.pair), ""
        if (manifest := folder / "train.images.json").is_file():
            pack = read_json(str(manifest), "pack the images again")
            of_all = f"{pack['sentences_with_image']} of {pack['sentences']} sentences"
            images = f"; images of {pack['image_size']} px for {of_all}"
        settings: dict[str, Any] = {
            "system": run.row.system.like,
            "seed": run.seed,
            "updates": run.row.updates,
            "epochs kept": self.plan.protocol.average,
            "CNN": self.plan.protocol.backbone,
            "options": " ".join(run.row.options),
            "data": (folder / "made-from.txt").read_text(encoding="utf-8").strip() + images,
            "text": run.row.text,
        }
        if run.row.text in MASKED:
            annotation = {file.name: sha256_of_file(str(file)) for file in self.positions(run.row.text)}
            settings["masked words"] = annotation or "built in"
        taught = run.row.text in TAUGHT or "--teacher-cache" in run.row.options
        if taught and (teaching := self.plan.distillation):
            settings |= {"teacher": self._teacher_checksums, "beam": teaching.beam, "top k": teaching.top_k}
        if run.row.start:
            starts = (row for row in self.plan.rows if row.system.name == run.row.start)
            settings["start"] = self.settings(replace(run, row=next(starts)))
        return settings

    def positions(self, text: str) -> list[Path]:
        """The files that say which words are masked in *text*; none where that is built in."""
        return [self.masks / f"{name}.position" for name in POSITIONS[text]] if self.masks else []

    def needs(self, run: Run) -> list[Path]:
        """What the training of *run* waits for."""
        row = run.row
        needed = [run.first_checkpoint] if run.first_checkpoint else []
        if row.text != ORIGINAL:
            needed.append(run.data / ("prepared" if row.text in MASKED else "distilled.json"))
        if row.system.retriever:
            needed.append(run.data / f"image-index.{row.system.retriever}.pt")
        caches = _values(row.options, "--teacher-cache")
        needed += [run.data / f"train.teacher.{name}.json" for name in caches]
        return needed + self.features(run, "train", "valid")

    def features(self, run: Run, *splits: str) -> list[Path]:
        """What stands for the features that *run* reads of such *splits* as have images: their manifests."""
        packed = [split for split in splits if self._has_images(run.pair, split)]
        names = _values(run.row.options, *_FEATURES)
        suffixes = [FEATURES_MANIFEST_SUFFIX.format(name=name) for name in names]
        return [run.data / f"{split}{suffix}" for split in packed for suffix in suffixes]

    @cached_property
    def _teacher_checksums(self) -> list[str]:
        """SHA-256 of the checkpoints that teach: every student's settings have them, and files are large."""
        files = self.plan.distillation.teacher.split(":") if self.plan.distillation else []
        return [sha256_of_file(file) for file in files]

    def check(self, folder: Path | None) -> None:
        """Refuses a grid that could not be run to its end.

        Args:
            folder: text, image_splits and images, as prepare.sh takes them, for masked texts.

        Raises:
            IkdError: data, test sets, images, features, a teacher, text to mask or an annotation is missing;
                its table has no such layout; there are runs of other settings.
        """
        known = self.plan.table in LAYOUTS
        check(known, f"{self.plan.file}: table {self.plan.table} is none of: {' '.join(LAYOUTS)}")
        for pair in self.plan.pairs:
            self._check_data(pair)
            self._check_images(pair)
        for run in self.runs():
            self._check_features(run)
        if self.plan.distillation:
            for file in self.plan.distillation.teacher.split(":"):
                check(Path(file).is_file(), f"there is no checkpoint {file}: name another teacher")
        masked = [text for text in self.plan.texts if text != ORIGINAL]
        if masked and folder is None:
            raise IkdError(f"{self.plan.file} masks words of the original text: give folder=FOLDER")
        there = not masked or Path(str(folder), "text").is_dir()
        check(there, f"folder={folder} has no text/ (see prepare.sh --help)")
        for path in (path for text in masked for path in self.positions(text)):
            check(path.is_file(), f"masks={self.masks} has no {path.name}")
        self._check_settings()

    def _check_data(self, pair: str) -> None:
        folder, language = self.prepared(pair), pair.split("-")[1]
        check(
            (folder / f"train.{pair}.{language}.idx").is_file(),
            f"{folder} holds no {pair} that prepare.sh made: give data=DATA, or plan other pairs",
        )
        named = (folder / "made-from.txt").is_file()
        check(named, f"{folder} has no made-from.txt, a line that tells its text from other text: write one")
        check(bool(self.tests(pair)), f"{folder}/reference holds no test set: run prepare.sh again")
        for split in self.tests(pair):
            check(
                references_file(folder, split, language) is not None,
                f"{self.plan.file} tests {split}, but {folder} has no such split: leave it out",
            )

    def _check_images(self, pair: str) -> None:
        folder, remedy = self.prepared(pair), "leave it out of the plan"
        manifest = folder / "train.images.json"
        for system in (row.system for row in self.plan.rows):
            name, there = system.name, system.images == "none" or manifest.is_file()
            check(there, f"{manifest} is missing, and {name} needs images: prepare them, or {remedy}")
            there = system.images != "test" or bool(self._pictured(pair))
            check(there, f"no test set in {folder} has images, which {name} needs: {remedy}")

    def _check_features(self, run: Run) -> None:
        made = FEATURES_MANIFEST_SUFFIX.format(name=self.plan.protocol.backbone)  # by the grid itself
        at_test = run.tests if run.row.system.images == "test" else ()
        for file in self.features(run, "train", "valid", *at_test):
            needed = f"{file} is missing, and {run.row.system.name} reads these features"
            remedy = "extract or import them, split by split, with ikd-extract-features"
            check(file.name.endswith(made) or file.is_file(), f"{needed}: {remedy}")

    def _check_settings(self) -> None:
        """Refuses runs that were trained with other settings, as far as these were noted."""
        others = []
        for run in self.runs():
            if (file := run.folder / MADE_WITH).is_file():
                found, wanted = read_json(str(file), "delete the run"), self.settings(run)
                differing = [key for key in wanted if found.get(key, wanted[key]) != wanted[key]]
                others += [f"{run.folder} ({', '.join(differing)})"] if differing else []
        check(
            not others,
            f"trained with other settings: {'; '.join(others)}. Delete what is not wanted any more, or give "
            "another out=",
        )


def _values(options: Sequence[str], *names: str) -> list[str]:
    """What *options*, one word each, give those called *names*."""
    return [value for option, value in pairwise(options) if option in names]
