"""Weight pruning by magnitude, with retraining under a fixed mask, and a compact form for pruned weights.

See, Luong and Manning 2016, "Compression of Neural Machine Translation Models via Pruning", section 3,
"class-blind": the weights of all matrices are sorted by magnitude together, and the smallest share of them is
set to zero. Kim and Rush 2016 prune their distilled students so. Here:

* Prunable is every parameter of the translation model with two or more dimensions: embeddings, projections,
  the generator of an image-free model. Biases and normalisation are not, nor are the parts that training
  alone runs, such as the student network of an image-free model. A parameter that is shared counts once.
* A mask is a part of the model: beside ``encoder.layers.0.fc1.weight`` stands the bool buffer
  ``encoder.layers.0.fc1.weight_mask``, True where a weight is kept. So every checkpoint of a run carries it,
  whatever task or criterion trains, and averaging and export pass it on. (fairseq's trainer saves a task's
  state, too, but does not load it.)
* A hook sets the masked entries of every gradient to zero. An optimizer that starts so never moves a weight
  that is zero, whatever its momentum: weight decay, loss scaling, accumulated and all-reduced gradients, and
  the fp32 copies of fp16 weights all leave it there. Zeroing after each step would miss those copies, and let
  masked gradients count in clipping.

``torch.nn.utils.prune`` is not used: it renames parameters, unties those that are shared, and acts in
``forward`` of the projections that fairseq's attention reads without calling them.
"""

import logging
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import ModelContract, contract_of
from ..errors import check
from ..io.checkpoints import memory_of

logger = logging.getLogger(__name__)

MASK_SUFFIX = "_mask"  # bool, of the weight's shape, True where it is kept

# A packed weight: these three entries of a state dictionary instead of the weight and its mask.
BITS_SUFFIX = "_mask_bits"  # uint8, the mask row by row, eight weights a byte, the first in the highest bit
KEPT_SUFFIX = "_kept"  # the weights that are kept, row by row
SHAPE_SUFFIX = "_shape"  # int64
PACKED_SUFFIXES = (BITS_SUFFIX, KEPT_SUFFIX, SHAPE_SUFFIX)

# Hardly a trained weight is exactly zero, but for padding. Where more than this share is, they were pruned.
_MOST_ZEROS_WITHOUT_MASK = 0.01


def is_prunable(name: str, value: Tensor, left_out: tuple[str, ...] = ()) -> bool:
    """Whether the parameter *value* is one to prune; names of parts that are not begin as *left_out* says."""
    return value.dim() >= 2 and value.is_floating_point() and not name.startswith(left_out)


def prunable_groups(model: dict[str, Tensor], left_out: tuple[str, ...] = ()) -> list[list[str]]:
    """The names of a state dictionary's prunable weights, those that share memory in one group."""
    groups: dict[Hashable, list[str]] = {}
    for name, value in model.items():
        if is_prunable(name, value, left_out):
            groups.setdefault(memory_of(value), []).append(name)
    return list(groups.values())


def magnitude_masks(
    weights: dict[str, Tensor], sparsity: float, masks: dict[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Class-blind masks that keep all but the share *sparsity* of smallest magnitude.

    Args:
        weights: by name, any shapes, on the CPU; each shared weight once.
        sparsity: share to prune, over all *weights* together; exact to one weight. Of several weights with
            the same magnitude the first are pruned, in the order of *weights*, row by row.
        masks: of an earlier pruning, bool by name, True where kept: what it pruned is pruned first.

    Returns:
        bool by name, of the shapes of *weights*, True where kept.

    Raises:
        IkdError: a weight is not finite, or the share does not exceed that of *masks*.
    """
    for name, value in weights.items():
        finite = value.isfinite().all()
        check(finite, f"{name} holds weights that are not finite: prune a checkpoint from before that")
    magnitudes = torch.cat([value.float().abs().flatten() for value in weights.values()])
    if masks:
        magnitudes[~torch.cat([masks[name].flatten() for name in weights])] = -1.0
    pruned_before, count = int((magnitudes < 0).sum()), round(sparsity * len(magnitudes))
    few = f"sparsity {sparsity:g} would prune {count} of {len(magnitudes)} weights"
    check(count > pruned_before, f"{few}, but {pruned_before} are pruned already: ask for more")
    threshold = magnitudes.kthvalue(count).values
    keep = magnitudes > threshold
    ties = (magnitudes == threshold).nonzero().flatten()
    keep[ties[count - int((magnitudes < threshold).sum()) :]] = True
    parts = keep.split([value.numel() for value in weights.values()])
    return {name: part.view(value.shape) for (name, value), part in zip(weights.items(), parts)}


def prune_weights(
    model: dict[str, Tensor], sparsity: float, left_out: tuple[str, ...] = ()
) -> dict[str, Tensor]:
    """A new state dictionary with the share *sparsity* of its prunable weights set to zero, and their masks.

    Names that share a weight share it, and its mask, in the result. *model*, on the CPU, may be pruned
    already, to a smaller share.

    Raises:
        IkdError: there is nothing to prune, or :func:`magnitude_masks` refuses.
    """
    groups = prunable_groups(model, left_out)
    check(groups, "the model has no weight matrices to prune")
    old = {group[0]: model[group[0] + MASK_SUFFIX] for group in groups if group[0] + MASK_SUFFIX in model}
    masks = magnitude_masks({group[0]: model[group[0]] for group in groups}, sparsity, old)
    pruned = dict(model)
    for group in groups:
        mask = masks[group[0]].clone()  # memory of its own size, not a view of all masks
        weight = model[group[0]].masked_fill(~mask, 0)
        for name in group:
            pruned[name], pruned[name + MASK_SUFFIX] = weight, mask
    return pruned


def pack_weights(model: dict[str, Tensor], left_out: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """A new state dictionary with a bit a weight and the kept values instead of weights and masks.

    :func:`unpack_weights` turns it back bit by bit.

    Raises:
        IkdError: a prunable weight has no mask, or is not zero where its mask says so.
    """
    packed = dict(model)
    for group in prunable_groups(model, left_out):
        mask = model.get(group[0] + MASK_SUFFIX)
        check(mask is not None, f"{group[0]} has no pruning mask: prune the checkpoint first")
        weight = model[group[0]]
        fits = not weight[~mask].any()
        check(fits, f"{group[0]} does not fit its pruning mask: prune the checkpoint again")
        bits = torch.from_numpy(np.packbits(mask.flatten().numpy()))
        kept, shape = weight[mask], torch.tensor(weight.shape)
        for name in group:
            del packed[name], packed[name + MASK_SUFFIX]
            packed.update({name + BITS_SUFFIX: bits, name + KEPT_SUFFIX: kept, name + SHAPE_SUFFIX: shape})
    return packed


def unpack_weights(model: dict[str, Tensor]) -> None:
    """Undoes :func:`pack_weights` in place; leaves any other state dictionary as it is.

    Raises:
        IkdError: a packed weight lacks a part, or its parts do not fit together.
    """
    unpacked: dict[int, Any] = {}  # shared weights stay shared
    for key in [key for key in model if key.endswith(BITS_SUFFIX)]:
        name = key[: -len(BITS_SUFFIX)]
        bits, kept, shape = (model.pop(name + suffix, None) for suffix in PACKED_SUFFIXES)
        damaged = f"the packed weight {name} is damaged: pack the checkpoint again"
        check(kept is not None and shape is not None, damaged)
        if bits.data_ptr() not in unpacked:
            size = int(shape.prod())
            check(len(bits) == -(-size // 8), damaged)
            mask = torch.from_numpy(np.unpackbits(bits.cpu().numpy(), count=size)).bool()
            check(int(mask.sum()) == len(kept), damaged)
            weight = kept.new_zeros(size)
            weight[mask.to(kept.device)] = kept
            unpacked[bits.data_ptr()] = weight.view(*shape), mask.view(*shape)
        model[name], model[name + MASK_SUFFIX] = unpacked[bits.data_ptr()]


def unpacked(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of a state dictionary in which every weight is whole, see :func:`unpack_weights`."""
    copy = dict(model)
    unpack_weights(copy)
    return copy


def attach_masks(model: nn.Module, state_dict: dict[str, Tensor]) -> None:
    """Gives *model* masks for the weights that have one in *state_dict*, and hooks that keep them at zero.

    The masks are True everywhere until *state_dict* is loaded. Without any there, *model* is left as it is.
    """
    parameters = dict(model.named_parameters(remove_duplicate=False))
    names = [name for name in parameters if name + MASK_SUFFIX in state_dict]
    hooked = set()
    for name in names:
        path, _, leaf = name.rpartition(".")
        owner, parameter, buffer = model.get_submodule(path), parameters[name], leaf + MASK_SUFFIX
        if not hasattr(owner, buffer):
            owner.register_buffer(buffer, torch.ones_like(parameter, dtype=torch.bool))
            if parameter.requires_grad and id(parameter) not in hooked:
                parameter.register_hook(_without_masked(owner, buffer))
        hooked.add(id(parameter))


def _without_masked(owner: nn.Module, buffer: str):
    # The mask is looked up when it is used: .to() replaces it. Filled, not multiplied: an overflown entry
    # times 0 is not a number.
    return lambda gradient: gradient.masked_fill(~getattr(owner, buffer), 0)


def check_masks(model: nn.Module) -> None:
    """Refuses to train a pruned model whose pruned weights would not stay at zero.

    Raises:
        IkdError: some weights have no mask though others do; a mask does not fit its weights; or there is no
            mask, but more weights are exactly zero than training ever leaves.
    """
    left_out = contract_of(model, ModelContract).training_only
    weights = {name: value for name, value in model.named_parameters() if is_prunable(name, value, left_out)}
    buffers = dict(model.named_buffers())
    masks = {name: buffers[name + MASK_SUFFIX] for name in weights if name + MASK_SUFFIX in buffers}
    size = sum(value.numel() for value in weights.values())
    if not masks:
        zeros = _zeros_outside_padding(model, weights)
        lost = f"{zeros / max(size, 1):.1%} of the model's weights are zero, but its checkpoint has lost the "
        remedy = "start from a checkpoint that has one, or give this one a mask by ikd-prune"
        unpruned = zeros <= _MOST_ZEROS_WITHOUT_MASK * size
        check(unpruned, f"{lost}pruning mask that would keep them so: {remedy}")
        return
    for name, value in weights.items():
        remedy = "start from a checkpoint that ikd-prune wrote, or from one of a run that began with it"
        check(name in masks, f"{name} has no pruning mask though other weights do: {remedy}")
        misfit = f"{name} is not zero where its pruning mask says so: weights and masks are of different"
        fits = not value.detach()[~masks[name]].any()
        check(fits, f"{misfit} checkpoints, so prune again by ikd-prune")
    kept = sum(int(mask.sum()) for mask in masks.values())
    logger.info("pruned: %d of %d weights stay at zero (%.1f %%)", size - kept, size, 100 * (1 - kept / size))


def _zeros_outside_padding(model: nn.Module, weights: dict[str, Tensor]) -> int:
    """How many entries of *weights* are exactly zero, the rows of padding in embeddings not counted."""
    zeros = sum(int((value == 0).sum()) for value in weights.values())
    embeddings = (module for module in model.modules() if isinstance(module, nn.Embedding))
    rows = {id(one.weight): one.weight[one.padding_idx] for one in embeddings if one.padding_idx is not None}
    return zeros - sum(int((row == 0).sum()) for row in rows.values())
