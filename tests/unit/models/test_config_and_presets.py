"""Presets carry their sizes on both of fairseq's command lines."""

import pytest
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from omegaconf import OmegaConf

from ikd_fairseq.models.base import PRESETS as SIZES
from ikd_fairseq.models.config import FlatTransformerConfig, nested_config

TINY, NANO = SIZES["tiny"], SIZES["nano"]
PRESETS = [
    ("transformer_mmt_tiny", TINY),
    ("ikd_transformer_tiny", TINY),
    ("multimodal_transformer_tiny", TINY),
    ("transformer_mmt_nano", NANO),
    ("ikd_transformer_nano", NANO),
]


@pytest.mark.parametrize("name, sizes", PRESETS)
def test_a_configuration_file_gets_the_presets_sizes_and_overrides_them(name, sizes):
    cfg = OmegaConf.structured(FairseqConfig())
    cfg.model = {"_name": name, "encoder_layers": 2}
    add_defaults(cfg)  # what fairseq-hydra-train does
    for option, value in sizes.items():
        assert cfg.model[option] == (2 if option == "encoder_layers" else value)


def test_nano_halves_tiny_and_keeps_the_width_of_a_head():
    for option, value in TINY.items():
        halved = option.startswith(("encoder_", "decoder_")) and not option.endswith("normalize_before")
        assert NANO[option] == (value // 2 if halved else value)
    assert NANO["encoder_embed_dim"] / NANO["encoder_attention_heads"] == 32


def test_flat_options_reach_the_nested_configuration():
    config = nested_config(FlatTransformerConfig(encoder_embed_dim=8, decoder_embed_dim=6, dropout=0.3))
    assert (config.encoder.embed_dim, config.decoder.embed_dim, config.dropout) == (8, 6, 0.3)
    assert config.decoder.input_dim == config.decoder.output_dim == 6
