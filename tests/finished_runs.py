"""Finished runs for the report, of forty sentences: records, TensorBoard files, hostile text."""

import base64
from pathlib import Path

from tensorboardX import SummaryWriter

from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Record
from tests.records import REFERENCES, score_of, write_output

# 2 x 1 pixels, grey.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def spoilt(every: int, text: str = "<b>falsch</b> & mehr") -> list:
    """The references, with every so-manyth one ending in *text*."""
    return [
        line.replace("garten", text) if place % every == 0 else line for place, line in enumerate(REFERENCES)
    ]


CURVES = {  # by subset, then term: updates and value
    "train": {"loss": {62: 20.7}, "nll_loss": {62: 12.5}, "kd_irm": {62: 2.9}},
    "valid": {
        "loss": {62: 14.9, 124: 12.2},
        "nll_loss": {62: 11.3, 124: 8.5},
        "kd_irm": {62: 3.0051, 124: 2.8},
    },
}

FACTS = {  # of a record, what training tells
    "pair": "en-de",
    "images": "training",
    "data": {
        "folder": "/data/<de>",
        "dictionaries": {"dict.en.txt": "5b5b<i>"},
        "splits": {
            "train": {"sentences": 29000, "sentences_with_image": 6993, "image_size": 64, "files": {}}
        },
    },
    "options": {
        "model": {"activation_fn": "relu", "dropout": 0.3, "backbone": "efficientnet_lite0"},
        "task": {"data": "/data/<de>", "lr": [0.005]},
        "bpe": {"_name": None},
    },
    "code": {"version": "0.1.0", "commit": "1f2e3d", "clean": False},
    "versions": {"python": "3.11.7", "torch": "2.14"},
    "hardware": {"processor": "EPYC <7>", "gpus": ["A", "A"]},
    "steps": {"train": {"seconds": 170.5, "peak_memory_mb": 2100}},
    "updates": 124,
    "stopped_by": "max_update",
    "model": {"parameters": 3500000},
}


def write_run(folder: Path, translations: dict, trained: bool = True, pictured: int = 0) -> Path:
    """A run in *folder*, with scores of *translations*, lines by split, against :data:`REFERENCES`.

    Args:
        trained: whether it has curves, and its record tells of training.
        pictured: how many sentences, the last ones, have an image, and scores of their own; 0 for unknown.
    """
    folder.mkdir(parents=True)
    scores = {}
    for split, lines in translations.items():
        output = f"generate-{split}.txt"
        write_output(folder / output, lines)
        groups = {ALL: 0, WITH_IMAGE: len(lines) - pictured} if pictured else {ALL: 0}
        scores[split] = [
            score_of(lines, group, range(first, len(lines)), output, metrics=("bleu", "chrf"))
            for group, first in groups.items()
        ]
    facts = {}
    if trained:
        options = {section: dict(values) for section, values in FACTS["options"].items()}
        options["model"]["_name"] = f"{folder.name.partition('-seed')[0]}_transformer"
        options["checkpoint"] = {"_name": None, "save_dir": f"runs/{folder.name}"}
        facts = {**FACTS, "options": options}
        for subset, curves in CURVES.items():
            with SummaryWriter(str(folder / "tensorboard" / subset)) as writer:
                for term, values in curves.items():
                    for updates, value in values.items():
                        writer.add_scalar(term, value, updates)
    Record.update(folder, scores=scores, **facts)
    return folder
