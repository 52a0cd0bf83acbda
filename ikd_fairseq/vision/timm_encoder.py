"""Any image encoder of timm, frozen, for features: ``timm:NAME``.

Its input is normalised as timm says, and its weights come from timm's cache or a file. Nothing is downloaded:
a run shall not depend on a network that happens to be there.
"""

import os

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import IkdError, check
from ..torch_files import load_safely
from .backbones import TIMM
from .weights import IMAGENET, RANDOM, RANDOM_SEED


class TimmEncoder(nn.Module):
    """A frozen encoder whose regions are the tokens, class token first, or the positions of its last map.

    Args:
        name: as ``timm.create_model`` takes it, such as ``vit_base_patch16_384``.
        weights: ``imagenet`` (those of timm, from its cache), ``random`` (always the same) or a file.

    Raises:
        IkdError: timm has no such encoder, or weights cannot be had or used.
    """

    def __init__(self, name: str, weights: str = IMAGENET) -> None:
        super().__init__()
        from timm.data import resolve_model_data_config

        self.name = name
        self.encoder = _build(name, weights).requires_grad_(False).eval()
        config = resolve_model_data_config(self.encoder)
        fixed = self.encoder.pretrained_cfg.get("fixed_input_size", False)
        self.input_size: tuple[int, int] | None = tuple(config["input_size"][1:]) if fixed else None
        self.channels_last = str(getattr(self.encoder, "output_fmt", "")).endswith("NHWC")
        for key in ("mean", "std"):
            self.register_buffer(key, torch.tensor(config[key]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """
        Args:
            images: uint8 ``K x H x W x 3`` (RGB). An encoder that was made for one size gets them resized to
                it, by bicubic interpolation.

        Returns:
            ``K x P x C``, a map's positions row by row.

        Raises:
            IkdError: the encoder gives neither a map nor tokens.
        """
        pixels = images.permute(0, 3, 1, 2).float() / 255
        if self.input_size is not None and self.input_size != tuple(pixels.shape[2:]):
            pixels = F.interpolate(pixels, self.input_size, mode="bicubic", antialias=True).clamp(0, 1)
        found = self.encoder.forward_features((pixels - self.mean) / self.std)
        if isinstance(found, Tensor) and found.dim() == 4:
            return found.flatten(1, 2) if self.channels_last else found.flatten(2).transpose(1, 2)
        check(
            isinstance(found, Tensor) and found.dim() == 3,
            f"--backbone {TIMM}{self.name} gives neither a map nor tokens: choose another encoder",
        )
        return found


def _build(name: str, weights: str) -> nn.Module:
    import timm

    check(
        timm.is_model(name),
        f"--backbone {TIMM}{name}: timm {timm.__version__} has no encoder of that name; "
        "timm.list_models() lists those it has",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(RANDOM_SEED)
        encoder = timm.create_model(name, pretrained=False)
    if weights == RANDOM:
        return encoder
    path = _cached(encoder, name) if weights == IMAGENET else weights
    check(os.path.isfile(path), f"--backbone-weights {path}: no such file; give imagenet, random or a file")
    if not path.endswith(".safetensors"):
        load_safely(path, "CNN weights")  # refuses, in a sentence, what is no checkpoint or would run code
    try:
        # timm knows the names that its encoders have in the files of their authors.
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"file": path})
    except (RuntimeError, KeyError, ValueError, AttributeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise IkdError(f"CNN weights {path}: not the weights of timm's {name} ({reason})") from error


def _cached(encoder: nn.Module, name: str) -> str:
    """The file with timm's weights of an encoder, in the cache of the Hub or of PyTorch."""
    from huggingface_hub import try_to_load_from_cache

    config = encoder.pretrained_cfg
    names = [config.get("hf_hub_filename") or "model.safetensors", "pytorch_model.bin"]
    found = [try_to_load_from_cache(config["hf_hub_id"], file) for file in names if config.get("hf_hub_id")]
    url = config.get("url") or ""
    found.append(os.path.join(torch.hub.get_dir(), "checkpoints", os.path.basename(url)) if url else None)
    path = next((path for path in found if isinstance(path, str) and os.path.isfile(path)), None)
    check(
        path is not None,
        f"the weights of timm's {name} are not in its cache: run python -c \"import timm; timm.create_model("
        f"'{name}', pretrained=True)\" where there is a network, or give a file by --backbone-weights",
    )
    return path
