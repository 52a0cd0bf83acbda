"""Finished runs with records, as train.sh and translate.sh leave them, over forty sentences."""

from collections.abc import Sequence
from pathlib import Path

from ikd_fairseq.evaluation.metrics import compute_scores
from ikd_fairseq.experiments.record import ALL, WITH_IMAGE, Metric, Record, Score, Sentences

NOUNS = "hund katze mann frau kind ball haus baum auto boot".split()
REFERENCES = [f"ein {NOUNS[i % 10]} und ein {NOUNS[i // 10]} im garten ." for i in range(40)]
PICTURED = list(range(0, 40, 2))


def spoilt(sentences: Sequence[int]) -> list[str]:
    """The references, with a wrong word in the middle of the given *sentences*."""
    wrong = set(sentences)
    return [text.replace(" und ", " oder ") if i in wrong else text for i, text in enumerate(REFERENCES)]


def bleu(hypotheses: Sequence[str], places: Sequence[int] = range(40)) -> float:
    """Of the sentences in *places*."""
    lines = [hypotheses[i] for i in places], [REFERENCES[i] for i in places]
    return compute_scores(*lines, metrics=["bleu"])["bleu"]["score"]


def score_of(
    lines: Sequence[str], group: str, places: Sequence[int], output: str, meteor=None, metrics=("bleu",)
) -> Score:
    """Of *lines*, translations of every sentence, on those in *places*."""
    found = compute_scores([lines[i] for i in places], [REFERENCES[i] for i in places], metrics=metrics)
    by_key = {key: Metric(one["name"], one["score"], one["signature"]) for key, one in found.items()}
    if meteor is not None:
        by_key["meteor"] = Metric("METEOR", meteor, "METEOR 1.5")
    sentences = Sentences.of(group, {i: REFERENCES[i] for i in places})
    return Score(sentences, by_key, output=output, sentences_per_second=20.0)


def write_output(path: Path, lines: Sequence[str]) -> None:
    """Translations of every sentence, in another order, as fairseq-generate writes them."""
    blocks = [
        f"S-{i}\tsource {i}\nT-{i}\t{REFERENCES[i]}\nH-{i}\t-1.0\t{text}\n" for i, text in enumerate(lines)
    ]
    path.write_text("".join(reversed(blocks)), encoding="utf-8")


def facts_of(
    system: str,
    seed: int,
    images: str = "none",
    updates: int = 10,
    lr: float = 0.005,
    dropout: float = 0.3,
    **further,
) -> dict:
    """What training tells the record."""
    coverage = {"sentences_with_image": len(PICTURED), "image_size": 64}
    return {
        "system": system,
        "like": system,
        "seed": seed,
        "pair": "en-de",
        "images": images,
        "data": {
            "dictionaries": {"dict.de.txt": "d1"},
            "splits": {
                "train": {"sentences": 90, "files": {"train.en-de.de.bin": "t1"}, **coverage},
                "test": {"sentences": 40, "files": {}, **coverage},
                "test1": {"sentences": 40, "files": {}},
                "valid": {"sentences": 40, "files": {}},
            },
        },
        "options": {
            "optimization": {"max_update": updates, "lr": [lr], "update_freq": [2]},
            "dataset": {"max_tokens": 4096},
            "model": {"backbone": "efficientnet_lite0", "dropout": dropout},
        },
        "steps": {"train": {"seconds": 90.0}},
        "model": {
            "averaged": 2,
            "parameters": 17,
            "decoding_parameters": 12,
            "decoding_parameters_not_zero": 12,
            "megabytes": 1.5,
        },
        **further,
    }


def add_run(
    runs: Path, name: str, translations: dict[str, list[str]], images: str = "none", meteor=None, **facts
) -> Path:
    """A finished run NAME-seedN: *translations* of every sentence, by split; half of ``test`` has images."""
    folder = runs / "en-de" / name
    folder.mkdir(parents=True)
    scores = {}
    for split, lines in translations.items():
        write_output(folder / f"generate-{split}.txt", lines)
        groups = {ALL: list(range(40))} if images != "test" else {}
        groups |= {WITH_IMAGE: PICTURED} if split == "test" else {}
        scores[split] = [
            score_of(lines, group, places, f"generate-{split}.txt", meteor if group == ALL else None)
            for group, places in groups.items()
        ]
    system, _, seed = name.rpartition("-seed")
    Record.update(folder, scores=scores, **facts_of(system, int(seed), images, **facts))
    return folder
