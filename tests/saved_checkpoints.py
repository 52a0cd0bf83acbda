"""Checkpoints of a few numbers in the layout that fairseq's trainer writes."""

from argparse import Namespace

import torch


def toy_state(model, /, updates=0, maximise=False, **settings):
    """The layout that fairseq's Trainer.state_dict writes; *settings* are sections of its configuration."""
    return {
        "args": None,
        "cfg": {
            "model": {"_name": "ikd_transformer", "updates_seen": updates},
            "task": Namespace(data="bin", _name="translation"),
            "checkpoint": {"maximize_best_checkpoint_metric": maximise},
            **settings,
        },
        "model": model,
        "criterion": None,
        "optimizer_history": [
            {
                "criterion_name": "C",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": None},
                "num_updates": updates,
            }
        ],
        "task_state": {},
        "extra_state": {
            "train_iterator": {"epoch": updates + 1},
            "val_loss": 3.5,
            "best": 3,
            "metrics": {},
            "ema": {"weight": torch.ones(1)},
        },
        "last_optimizer_state": {"state": {0: {"exp_avg": torch.zeros(1000)}}},
    }


def save(path, value, updates=0, **options):
    torch.save(toy_state({"weight": torch.full((2,), float(value))}, updates, **options), path)
    return str(path)


def averaged_weight(path):
    return torch.load(path, weights_only=True)["model"]["weight"][0].item()
