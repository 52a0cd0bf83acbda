"""Finished runs as translate.sh, train.sh and ikd-analyse leave them, of forty sentences."""

import base64
import json
from pathlib import Path

from ikd_fairseq.evaluation.metrics import compute_scores

NOUNS = ("hund", "ball", "mann", "baum", "zug")
REFERENCES = [
    f"der {noun} und die {place}. frau gehen heute in den garten ." for place in range(8) for noun in NOUNS
]

# 2 x 1 pixels, grey.
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAIAAAABCAAAAADRSSBWAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)


def spoilt(every: int, text: str = "<b>falsch</b> & mehr") -> list:
    """The references, with every so-manyth one ending in *text*."""
    return [
        line.replace("garten", text) if place % every == 0 else line for place, line in enumerate(REFERENCES)
    ]


LOG = """\
2026-11-21 11:51:09 | INFO | fairseq_cli.train | {'_name': None, 'common': {'_name': None, 'seed': SEED}, \
'model': {'_name': 'ARCH', 'activation_fn': relu, 'dropout': 0.3, 'note': 'a: b'}, \
'task': Namespace(data='/data/<de>', lr=[0.005]), 'checkpoint': {'_name': None, 'save_dir': 'SEED'}}
2026-11-21 11:51:10 | INFO | fairseq.tasks.translation | [en] dictionary: 9712 types
2026-11-21 11:51:11 | INFO | ikd_fairseq.tasks.multimodal_translation | /data train: 6993 of 29000 sentences \
have an image
2026-11-21 11:52:00 | INFO | train_inner | epoch 001:     10 / 62 loss=27.465, nll_loss=14.048, num_updates=10
2026-11-21 11:53:00 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 14.9 | nll_loss 11.3 \
| kd_irm 3.0051 | ppl 2500.1 | wps 8520.1 | num_updates 62 | best_loss 14.9
2026-11-21 11:53:01 | INFO | train | epoch 001 | loss 20.7 | nll_loss 12.5 | kd_irm 2.9 \
| num_updates 62 | lr 1e-05
2026-11-21 11:54:00 | INFO | valid | epoch 002 | valid on 'valid' subset | loss 12.2 | nll_loss 8.5 \
| kd_irm 2.8 | ppl 362.0 | wps 8520.1 | num_updates 124 | best_loss 12.2
2026-11-21 11:54:02 | INFO | fairseq_cli.train | done training in 170.5 seconds
"""


def write_run(folder: Path, translations: dict, log: bool = True, metrics=("bleu", "chrf")) -> Path:
    """A run in *folder*, with scores of *translations*, lines by split, against :data:`REFERENCES`."""
    folder.mkdir(parents=True)
    for split, lines in translations.items():
        references = REFERENCES[: len(lines)]
        text = "".join(
            f"S-{place}\tsource {place}\nT-{place}\t{reference}\nH-{place}\t-0.5\t{line}\n"
            for place, (line, reference) in reversed(list(enumerate(zip(lines, references))))
        )
        (folder / f"generate-{split}.txt").write_text(text, encoding="utf-8")
        score = {
            "references": "gone",
            "sentences": len(lines),
            "preset": "tokenised",
            "remove_bpe": False,
            "detokenise": None,
            "scores": compute_scores(lines, references, metrics=metrics),
        }
        (folder / f"score-{split}.json").write_text(json.dumps(score), encoding="utf-8")
    if log:
        name, _, seed = folder.name.partition("-seed")
        content = LOG.replace("SEED", seed or "1").replace("ARCH", f"{name}_transformer")
        (folder / "train.log").write_text(content, encoding="utf-8")
    return folder
