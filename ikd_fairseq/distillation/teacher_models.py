"""Translation models that teach another one: of the same languages and dictionaries, frozen, and hidden."""

import math
import os
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from fairseq.data import Dictionary
from torch import Tensor, nn

from ..checkpoint_weights import check_weights
from ..compression.pruning import unpacked
from ..contracts import inputs_of, views_of
from ..errors import check
from ..io.checkpoints import config_section, languages_of, load_checkpoint

_SAME = "a teacher must be trained with the student's dictionaries"


def check_teacher(
    path: str, source: Dictionary, target: Dictionary, source_lang: str, target_lang: str
) -> None:
    """Refuses a teacher whose answers would mean other words than the student's.

    The checkpoint holds no dictionary. Its embeddings tell how many words there were; which ones, the
    dictionaries tell that lie beside the checkpoint or in its data folder, if they still do.

    Args:
        source, target, source_lang, target_lang: the student's dictionaries and languages.

    Raises:
        IkdError: the file is missing or unreadable, no translation model of fairseq, of weights that are not
            finite, or of other languages or dictionaries.
    """
    state = load_checkpoint(path, "teacher")
    check_weights(state, f"teacher {path}")
    weights, trained_on = unpacked(state["model"]), config_section(state, "task")
    theirs = languages_of(state)
    same = theirs[0] in (None, source_lang) and theirs[1] in (None, target_lang)
    other = f"teacher {path} translates {theirs[0]}-{theirs[1]}, not {source_lang}-{target_lang}"
    check(same, f"{other}: give a teacher of the same languages")
    sides = ("source", "encoder", source, source_lang), ("target", "decoder", target, target_lang)
    for side, part, ours, language in sides:
        table = weights.get(f"{part}.embed_tokens.weight")
        lacking = f"teacher {path} has no {part} with word embeddings"
        check(
            table is not None and table.dim() == 2, f"{lacking}, so it is no translation model to learn from"
        )
        other = f"teacher {path} has a {side} dictionary of {len(table)} words"
        check(len(table) == len(ours), f"{other}, and the student one of {len(ours)}: {_SAME}")
        for dictionary in _dictionaries(path, trained_on.get("data"), language):
            other = f"teacher {path} has another {side} dictionary than the student ({dictionary} lists"
            same = Dictionary.load(dictionary) == ours
            check(same, f"{other} other words, or in another order): {_SAME}")


def _dictionaries(path: str, data: Any, language: str | None) -> Iterator[str]:
    """The teacher's dictionary of a language: beside the checkpoint, and in the folder it was trained on."""
    trained_on = data.split(os.pathsep)[0] if isinstance(data, str) and "\0" not in data else ""
    for folder in (os.path.dirname(path), trained_on):
        dictionary = os.path.join(folder, f"dict.{language}.txt")
        if folder and os.path.isfile(dictionary):
            yield dictionary


class TeacherEnsemble:
    """Holds translation models where no optimizer, checkpoint, DDP or ``train()`` finds them.

    Deliberately no ``nn.Module``: as an attribute of one it is not registered. fairseq hands a criterion's
    registered parameters to optimizer, DDP and checkpoint; teachers belong to none of them. They are in eval
    mode for good.

    Args:
        models: fairseq's encoder-decoder models over one target dictionary, with or without images.
    """

    def __init__(self, models: Sequence[nn.Module]) -> None:
        self.models = [model.eval().requires_grad_(False) for model in views_of(models)]
        for encoder in (model.encoder for model in self.models):
            if hasattr(encoder, "make_generation_fast_"):  # an IKD teacher's, which folds its generator
                encoder.make_generation_fast_()

    def __call__(self, net_input: dict[str, Any], like: Tensor) -> Tensor:
        """Logarithm of the mean of the models' probabilities, given the source and the reference so far.

        torch's random numbers on the CPU are where they were: fairseq's layer lists draw some even in eval
        mode, and the student's dropout must not depend on who teaches.

        Args:
            net_input: of a batch of B sentences with J target tokens, as the task collates it.
            like: a tensor of the device and type that the models are to have: a parameter of the student's.

        Returns:
            float32 ``B x J x V`` without gradient.
        """
        mean = None
        share = math.log(len(self.models))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            for model in self.models:
                first = next(model.parameters())
                if (first.device, first.dtype) != (like.device, like.dtype):
                    model.to(device=like.device, dtype=like.dtype)
                output = model(**inputs_of(net_input, model))
                log_probs = model.get_normalized_probs(output, log_probs=True).sub_(share)
                mean = log_probs if mean is None else torch.logaddexp(mean, log_probs, out=mean)
        return mean
