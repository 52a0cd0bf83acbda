"""Presets: the sizes of every architecture, by the names that ``--arch`` has."""

from dataclasses import field, fields, make_dataclass
from typing import Any

from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY, register_model_architecture
from hydra.core.config_store import ConfigStore


def _preset(normalize_before: bool, **sizes: int) -> dict[str, Any]:
    """*sizes* of both encoder and decoder, and whether layer normalisation comes first in every block."""
    both = {**sizes, "normalize_before": normalize_before}
    parts = {f"{part}_{option}": value for part in ("encoder", "decoder") for option, value in both.items()}
    return {**parts, "dropout": 0.3, "share_all_embeddings": True}


# Wu et al. 2021, "Good for Misconceived Reasons": small enough not to overfit 29,000 sentences.
_TINY = dict(embed_dim=128, ffn_embed_dim=256, layers=4, attention_heads=4)
PRESETS = {
    # Layer normalisation first, as in IKD-MMT's released code.
    "tiny": _preset(True, **_TINY),
    # And last, as in the code of Wu et al., of Li et al. (ACL 2022) and of Li et al. (CVPR 2022).
    "tiny_postnorm": _preset(False, **_TINY),
    # A small student for distillation, our own choice: half of tiny, and heads as wide as tiny's (32).
    "nano": _preset(True, embed_dim=64, ffn_embed_dim=128, layers=2, attention_heads=2),
}


def register_preset(model_name: str, size: str, suffix: str = "", **options: Any) -> None:
    """Registers the sizes ``PRESETS[size]`` as architecture ``MODEL_SIZE``, for ``--arch`` and for hydra.

    fairseq fills in what a configuration file leaves unset from the dataclass of the model, whatever preset
    the file names. Hence a dataclass with the preset's own defaults, found under the preset's name.

    Args:
        suffix: to be added to the architecture's name.
        options: further options and their values. An option of the plugin has, in the model's own dataclass,
            the default that stands for what was before there was the option. A checkpoint that does not name
            it gets that one, not the preset's: :func:`ikd_fairseq.checkpoint_settings.complete_settings`.
    """
    values, arch_name = {**PRESETS[size], **options}, f"{model_name}_{size}{suffix}"
    config_class = MODEL_DATACLASS_REGISTRY[model_name]

    def fill_unset(args) -> None:
        for name, value in values.items():
            if getattr(args, name, None) is None:
                setattr(args, name, value)

    register_model_architecture(model_name, arch_name)(fill_unset)
    preset_class = make_dataclass(
        f"{config_class.__name__}_{arch_name}",
        [
            (option.name, option.type, field(default=values[option.name], metadata=option.metadata))
            for option in fields(config_class)
            if option.name in values
        ],
        bases=(config_class,),
        namespace={"before": {name: getattr(config_class, name) for name in options}},
    )
    MODEL_DATACLASS_REGISTRY[arch_name] = preset_class
    ARCH_MODEL_NAME_REGISTRY[arch_name] = arch_name
    ConfigStore.instance().store(
        name=arch_name, group="model", node=preset_class(_name=arch_name), provider="ikd_fairseq"
    )
