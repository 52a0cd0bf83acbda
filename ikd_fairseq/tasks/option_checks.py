"""Options that contradict each other, or ask for what this machine or this data cannot do.

Refused when the model is built, before any data is read.
"""

import logging
from collections.abc import Sequence
from typing import Any

import torch
from fairseq.data import Dictionary

from ..contracts import CriterionContract, ModelContract, contract_of
from ..errors import check

logger = logging.getLogger(__name__)


def check_precision(cfg: Any, model: Any = None) -> None:
    """Refuses ``--fp16`` and ``--bf16`` where training could not use them, and ``--amp``.

    fairseq 0.12 names one optimizer to the gradient scaler where it divides gradients by the scale, another
    where it steps, so that ``--amp`` divides them twice: those of rare words vanish beside Adam's epsilon.
    Its checkpointed layers are computed again outside autocast: in float32, at its cost.

    Args:
        cfg: with fairseq's options ``cpu``, ``fp16``, ``bf16``, ``amp``, each maybe unresolved or missing.
        model: the options of the model, flat.

    Raises:
        IkdError: there is no GPU, ``--cpu`` was given, or the GPU knows no bfloat16; or ``--amp``, or
            ``--bf16-autocast`` with checkpointed layers.
    """
    both = "--checkpoint-activations computes layers again in float32, --bf16-autocast or not"
    again = getattr(cfg, "bf16_autocast", False) and getattr(model, "checkpoint_activations", False) is True
    check(not again, f"{both}: drop one of the two, or train in half precision by --bf16")
    wrong = "--amp of fairseq 0.12 divides gradients by the loss scale twice"
    check(getattr(cfg, "amp", None) is not True, f"{wrong}: give --fp16 or --bf16-autocast")
    for name in ("fp16", "bf16"):
        if getattr(cfg, name, None) is True:
            option = f"--{name} trains in half precision on a GPU"
            check(
                getattr(cfg, "cpu", None) is not True, f"{option}, and --cpu uses none: give one of the two"
            )
            check(torch.cuda.is_available(), f"{option}, and this machine has none: leave it out")
            fits = name == "fp16" or torch.cuda.is_bf16_supported()
            check(fits, f"{option}, and this one knows no bfloat16: give --fp16")


def check_batches(cfg: Any) -> None:
    """Refuses sizes of batches that cannot be.

    Args:
        cfg: all options of fairseq-train.

    Raises:
        IkdError: one of ``--update-freq``, ``--batch-size`` and ``--max-tokens`` is not above 0.
    """
    sizes = {"update-freq": min(cfg.optimization.update_freq, default=1)}
    sizes |= {"batch-size": cfg.dataset.batch_size, "max-tokens": cfg.dataset.max_tokens}
    for name, size in sizes.items():
        check(size is None or size > 0, f"--{name} {size}: give a number above 0")


def check_images(cfg: Any) -> None:
    """Refuses options about images that cannot be.

    Args:
        cfg: the options of the task.

    Raises:
        IkdError: two contradict each other, or the share of images is none.
    """
    both = "--image-free reads no image and --require-images wants one for every sentence"
    check(not (cfg.image_free and cfg.require_images), f"{both}: give one of the two")
    share = f"--image-share {cfg.image_share}"
    check(0 <= cfg.image_share <= 1, f"{share}: give a share from 0 to 1")
    both = f"{share} takes images from sentences that --require-images wants them for"
    check(cfg.image_share == 1 or not cfg.require_images, f"{both}: give one of the two")


def check_bpe_dropout(cfg: Any) -> None:
    """Refuses options of BPE-dropout that cannot be.

    Args:
        cfg: the options of the task.

    Raises:
        IkdError: the share is none, or what needs it stands without it.
    """
    check(0 <= cfg.bpe_dropout < 1, f"--bpe-dropout {cfg.bpe_dropout}: give a number from 0 to below 1")
    check(
        cfg.bpe_dropout > 0 or not (cfg.bpe_dropout_target or cfg.bpe_dropout_codes),
        "--bpe-dropout-target and --bpe-dropout-codes do nothing without --bpe-dropout: give that too",
    )


def check_model_options(cfg: Any, source: Dictionary, target: Dictionary) -> None:
    """Refuses sizes and rates of a Transformer that cannot be, and shared embeddings of two dictionaries.

    Args:
        cfg: the options of the model, flat.

    Raises:
        IkdError: one is out of its range, or does not go with another.
    """
    for name in (
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "encoder_layerdrop",
        "decoder_layerdrop",
    ):
        rate = getattr(cfg, name, None)
        fits = not isinstance(rate, int | float) or 0 <= rate < 1
        check(fits, f"--{name.replace('_', '-')} {rate}: give a share of 0 or more, below 1")
    for part in ("encoder", "decoder"):
        for name in ("embed_dim", "ffn_embed_dim", "layers", "attention_heads"):
            size = getattr(cfg, f"{part}_{name}", None)
            option = f"--{part}-{name.replace('_', '-')} {size}"
            most = 1000 if name == "layers" else 1 << 20  # beyond it building alone takes for ever
            check(not isinstance(size, int) or 0 < size <= most, f"{option}: give a number from 1 to {most}")
        width, heads = (getattr(cfg, f"{part}_{name}", None) for name in ("embed_dim", "attention_heads"))
        known = isinstance(width, int) and isinstance(heads, int)
        check(
            not known or width % heads == 0,
            f"--{part}-attention-heads {heads} does not divide --{part}-embed-dim {width}",
        )
    shares = getattr(cfg, "share_all_embeddings", False) and not getattr(cfg, "separate_embeddings", False)
    check(
        not shares or source == target,
        "source and target have dictionaries of their own, and this architecture shares all embeddings: "
        "prepare the data with --joined-dictionary, or add --separate-embeddings",
    )


def check_search(cfg: Any) -> None:
    """Refuses a beam that cannot be, which fairseq finds out in the midst of the search.

    Args:
        cfg: the options of the generation.
    """
    beam, nbest = getattr(cfg, "beam", 5), getattr(cfg, "nbest", 1)
    check(beam > 0, f"--beam {beam}: give a number above 0")
    check(nbest > 0, f"--nbest {nbest}: give a number above 0")
    check(nbest <= beam, f"--nbest {nbest} wants more translations than --beam {beam} finds: widen the beam")


def check_ensemble(models: Sequence[Any]) -> None:
    """Refuses models of fairseq's beside one that looks at images, which an ensemble hands to all alike."""
    known = [model for model in models if isinstance(model, ModelContract)]
    check(
        len(known) == len(models) or not any(model.requires_images for model in known),
        "fairseq's own models take no images, and another one of the ensemble needs them: take "
        "transformer_mmt in their place, or give --image-free",
    )


def check_criterion(criterion: Any, model: Any) -> None:
    """Refuses a label smoothing that is no share, and an adaptive softmax where all words' logits are needed.

    Raises:
        IkdError: ``--label-smoothing`` is out of its range, or ``--adaptive-softmax-cutoff`` is given with a
            criterion of the plugin.
    """
    smoothing = getattr(criterion, "eps", 0.0)
    check(0 <= smoothing < 1, f"--label-smoothing {smoothing}: give a share of 0 or more, below 1")
    adaptive = getattr(getattr(model, "decoder", None), "adaptive_softmax", None) is not None
    check(
        not (adaptive and isinstance(criterion, CriterionContract)),
        f"--adaptive-softmax-cutoff leaves no logits of all words for {type(criterion).__name__}: leave it "
        "out, or train with --criterion adaptive_loss",
    )


def warn_of_idle_parts(criterion: Any, model: Any) -> None:
    """Names what *model* has for training alone and a *criterion* without images leaves as it is."""
    if contract_of(criterion, CriterionContract).uses_images:
        return
    for name, idle in contract_of(model, ModelContract).training_parts().items():
        if idle is not None and any(weight.requires_grad for weight in idle.parameters()):
            logger.warning(
                "%s does not train the model's %s: build it with --no-%s (PyTorch's own DDP refuses "
                "parameters that get no gradient)",
                type(criterion).__name__,
                name,
                name,
            )
