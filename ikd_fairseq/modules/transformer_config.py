"""fairseq's Transformer configuration as one flat dataclass, and two sizes: the field's "tiny", and half of it.

fairseq 0.12 keeps the Transformer's options in nested dataclasses that its classic command line cannot fill
(``--encoder-embed-dim`` would have to become ``encoder.embed_dim``) and registers ``transformer`` without any, so
that ``fairseq-hydra-train`` cannot build it. Flat names serve both command lines, and checkpoints hold them too.
"""

from argparse import Namespace
from dataclasses import MISSING, field, fields, is_dataclass, make_dataclass
from typing import Any

from fairseq.dataclass import FairseqDataclass
from fairseq.models import ARCH_MODEL_NAME_REGISTRY, MODEL_DATACLASS_REGISTRY, register_model_architecture
from fairseq.models.transformer import TransformerConfig, TransformerModelBase
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from ..compression.pruning import attach_masks, unpack_weights


def _flat_fields() -> list[tuple[str, Any, Any]]:
    """(name, type, field) of every option of :class:`TransformerConfig`, nested ones as ``encoder_embed_dim``.

    Options whose default is an interpolation of another (the decoder's input and output width) are left to
    :func:`nested_config`.
    """
    flat = []
    for outer in fields(TransformerConfig):
        nested = outer.type if is_dataclass(outer.type) else None
        for option in fields(nested) if nested else [outer]:
            name = f"{outer.name}_{option.name}" if nested else option.name
            default = option.default
            if option.name.startswith("_") or (isinstance(default, str) and default.startswith("${")):
                continue
            if default is MISSING:
                default = option.default_factory()
            flat.append((name, option.type, field(default=default, metadata=option.metadata)))
    return flat


FlatTransformerConfig: type[FairseqDataclass] = make_dataclass(
    "FlatTransformerConfig",
    _flat_fields(),
    bases=(FairseqDataclass,),
    namespace={
        "__module__": __name__,
        "__doc__": "Every option of fairseq's Transformer under its flat name.",
    },
)


def nested_config(flat) -> TransformerConfig:
    """*flat* (dataclass, ``DictConfig`` or namespace) as the nested configuration that fairseq's modules read.

    Options that are not the Transformer's (those of a plugin model) are carried over as attributes.
    """
    values = OmegaConf.to_container(flat, resolve=True) if isinstance(flat, DictConfig) else dict(vars(flat))
    config = TransformerConfig.from_namespace(Namespace(**values))
    config.decoder.input_dim = config.decoder.output_dim = config.decoder.embed_dim
    return config


class FlatTransformerModel(TransformerModelBase):
    """fairseq's Transformer, built from a flat configuration. Base of every architecture of the plugin."""

    takes_masks = True  # of a pruned checkpoint, see upgrade_state_dict

    @classmethod
    def add_args(cls, parser) -> None:
        # TransformerModelBase adds its nested options; the flat dataclass holds them all.
        super(TransformerModelBase, cls).add_args(parser)

    @classmethod
    def build_model(cls, cfg, task):
        return super().build_model(nested_config(cfg), task)

    def upgrade_state_dict(self, state_dict) -> None:
        """Takes in the masks of a pruned checkpoint, packed or not. Training and decoding load it so."""
        unpack_weights(state_dict)
        super().upgrade_state_dict(state_dict)
        attach_masks(self, state_dict)


# Wu et al. 2021, "Good for Misconceived Reasons": small enough not to overfit 29,000 sentences. Layer
# normalisation comes first in every block, as in the code released with IKD-MMT.
TINY: dict[str, Any] = dict(
    encoder_embed_dim=128,
    encoder_ffn_embed_dim=256,
    encoder_layers=4,
    encoder_attention_heads=4,
    encoder_normalize_before=True,
    decoder_embed_dim=128,
    decoder_ffn_embed_dim=256,
    decoder_layers=4,
    decoder_attention_heads=4,
    decoder_normalize_before=True,
    dropout=0.3,
    share_all_embeddings=True,
)


# A small student for distillation, our own choice: half of tiny's width, feed-forward width, layers and heads, so
# that a head is as wide as tiny's (32). Everything else is tiny's.
NANO: dict[str, Any] = dict(
    TINY,
    encoder_embed_dim=64,
    encoder_ffn_embed_dim=128,
    encoder_layers=2,
    encoder_attention_heads=2,
    decoder_embed_dim=64,
    decoder_ffn_embed_dim=128,
    decoder_layers=2,
    decoder_attention_heads=2,
)


def register_preset(
    model_name: str, arch_name: str, config_class: type[FairseqDataclass], values: dict[str, Any]
):
    """Registers *values* as architecture *arch_name* of model *model_name*, for ``--arch`` and for hydra.

    fairseq fills in what a configuration file leaves unset from the dataclass of the model, whatever preset the file
    names. Hence a dataclass with the preset's own defaults, found under the preset's name.
    """

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
    )
    MODEL_DATACLASS_REGISTRY[arch_name] = preset_class
    ARCH_MODEL_NAME_REGISTRY[arch_name] = arch_name
    ConfigStore.instance().store(
        name=arch_name, group="model", node=preset_class(_name=arch_name), provider="ikd_fairseq"
    )
