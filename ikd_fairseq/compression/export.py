"""A checkpoint for decoding alone, without what only training needs of model and state."""

import logging
import os
from typing import Any

import torch

from ..checkpoint_weights import check_weights
from ..constants import TEXT
from ..contracts import ModelContract, contract_of_architecture, options_without
from ..errors import check
from ..io.atomic import check_output
from ..io.checkpoints import (
    State,
    architecture_of,
    config_section,
    load_checkpoint,
    map_models,
    without_training_state,
    write_checkpoint,
)
from ..io.locks import claim

logger = logging.getLogger(__name__)

# Criterions that need the student, a CNN or teachers, and the part of them that does not, fairseq's own.
TEACHING = ("inversion_distillation", "auxiliary_losses", "word_distillation")
TRANSLATION_LOSS = "label_smoothed_cross_entropy"
_OPTIONS_OF_BOTH = ("label_smoothing", "report_accuracy", "ignore_prefix_size", "sentence_avg")


def export_model(
    model: dict[str, torch.Tensor], half: bool = False, left_out: tuple[str, ...] = ()
) -> dict[str, torch.Tensor]:
    """The entries of a state dictionary that decoding needs, each with memory of its own size.

    Args:
        half: store floating-point entries as float16.
        left_out: how the names of entries begin that decoding lacks.

    Returns:
        New tensors. Entries that share memory in *model* share it in the result.

    Raises:
        IkdError: a value is too large for float16.
    """

    def copy(key: str, tensors: list[torch.Tensor]) -> torch.Tensor:
        (tensor,) = tensors
        stored = tensor.half() if half and tensor.is_floating_point() else tensor
        fits = stored.isfinite().all() or not tensor.isfinite().all()
        check(fits, f"{key} holds values beyond float16's range (65504); export without --half")
        return stored.clone(memory_format=torch.contiguous_format)

    kept = {key: tensor for key, tensor in model.items() if not key.startswith(left_out)}
    return map_models([kept], copy, "export")


def teacher_weights_of(state: State) -> str | None:
    """The ``--teacher-weights`` that a checkpoint was distilled from, exported or not, if it says."""
    exported = state["extra_state"].get("exported", {}).get("teacher_weights")
    return config_section(state, "criterion").get("teacher_weights") or exported


def _make_decode_only(state: State, architecture: type[ModelContract] | None) -> None:
    """Changes the settings in *state* so that model and task are built without the files of training.

    The criterion, which fairseq-validate builds, becomes one that needs the model alone.
    """
    model, task = config_section(state, "model"), config_section(state, "task")
    if architecture:
        model.update(options_without(architecture.training_only))
    changes = [(model, dict.fromkeys(("encoder_embed_path", "decoder_embed_path")))]  # initial embeddings
    if architecture and not architecture.requires_images:
        changes.append((task, {"image_free": True, "require_images": False}))
    for section, values in changes:
        section.update({name: value for name, value in values.items() if name in section})
    criterion = config_section(state, "criterion")
    if state.get("args") is not None:
        if criterion.get("criterion") in TEACHING:
            criterion["criterion"] = TRANSLATION_LOSS
    elif criterion.get("_name") in TEACHING:
        kept = {name: criterion[name] for name in _OPTIONS_OF_BOTH if name in criterion}
        state["cfg"]["criterion"] = {"_name": TRANSLATION_LOSS, **kept}


def export_checkpoint(
    checkpoint: os.PathLike, output: os.PathLike, half: bool = False, text: dict[str, Any] | None = None
) -> None:
    """Writes what decoding needs of *checkpoint* to *output*, which loads in fairseq's own commands.

    Args:
        text: what its text went through, plain values that are stored beside the model.

    Raises:
        IkdError: the checkpoint cannot be used or has weights that are not finite, the output cannot be
            written, or a value exceeds float16.
    """
    check_output(output, [checkpoint])
    with claim(output):
        state = load_checkpoint(checkpoint)
        check_weights(state, checkpoint)
        if "exported" in state["extra_state"]:
            logger.info("%s is an exported checkpoint already", checkpoint)
        exported = without_training_state(state)
        architecture = contract_of_architecture(architecture_of(state))
        left_out = architecture.training_only if architecture else ()
        exported["model"] = export_model(state["model"], half, left_out)
        exported["criterion"] = None
        origin = {"file": str(checkpoint), "half": half, "teacher_weights": teacher_weights_of(state)}
        exported["extra_state"]["exported"] = {
            name: value for name, value in origin.items() if value is not None
        }
        if text is not None:
            exported[TEXT] = text
        _make_decode_only(exported, architecture)
        write_checkpoint(exported, output)
