"""Presets carry their sizes on both of fairseq's command lines."""

from argparse import Namespace

import pytest
from fairseq import options
from fairseq.dataclass.configs import FairseqConfig
from fairseq.dataclass.initialize import add_defaults
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.models import ARCH_CONFIG_REGISTRY
from omegaconf import OmegaConf

from ikd_fairseq.experiments.systems import SYSTEMS
from ikd_fairseq.models.config import FlatTransformerConfig, nested_config
from ikd_fairseq.models.presets import PRESETS as SIZES

TINY, NANO, POST_NORM = SIZES["tiny"], SIZES["nano"], SIZES["tiny_postnorm"]
PRESETS = [
    ("transformer_mmt_tiny", TINY),
    ("ikd_transformer_tiny", TINY),
    ("multimodal_transformer_tiny", TINY),
    ("transformer_mmt_nano", NANO),
    ("transformer_mmt_tiny_postnorm", POST_NORM),
    ("gated_fusion_tiny_postnorm", POST_NORM),
    ("selective_attention_transformer_tiny_postnorm", POST_NORM),
    ("retrieval_transformer_tiny_postnorm", POST_NORM),
    ("hallucination_transformer_tiny_postnorm", POST_NORM),
    ("ikd_transformer_nano", NANO),
]


@pytest.mark.parametrize("name, sizes", PRESETS)
def test_a_configuration_file_gets_the_presets_sizes_and_overrides_them(name, sizes):
    cfg = OmegaConf.structured(FairseqConfig())
    cfg.model = {"_name": name, "encoder_layers": 2}
    add_defaults(cfg)  # what fairseq-hydra-train does
    for option, value in sizes.items():
        assert cfg.model[option] == (2 if option == "encoder_layers" else value)


@pytest.mark.parametrize("name", sorted({f"{system.architecture}_tiny" for system in SYSTEMS.values()}))
def test_tiny_has_the_published_sizes_and_yields_to_the_user(name):
    args = Namespace(encoder_layers=2)
    ARCH_CONFIG_REGISTRY[name](args)
    assert (args.encoder_embed_dim, args.encoder_ffn_embed_dim, args.encoder_attention_heads) == (128, 256, 4)
    assert (args.encoder_layers, args.decoder_layers, args.dropout) == (2, 4, 0.3)
    assert args.share_all_embeddings


OURS = {
    "text_memory": "layer",
    "region_bias": "learned",
    "generator_norm": "region",
    "student_kernels": "even",
    "kd_gradient": "generator",
}
PAPER = {
    "text_memory": "embedding",
    "region_bias": "none",
    "generator_norm": "channel",
    "student_kernels": "even",
    "kd_gradient": "embeddings",
}


@pytest.mark.parametrize(
    "name, expected",
    [("ikd_transformer_tiny", OURS), ("ikd_transformer_nano", OURS), ("ikd_transformer_tiny_paper", PAPER)],
)
def test_what_leaves_the_paper_is_in_our_presets_and_not_in_its_own(name, expected):
    cfg = OmegaConf.structured(FairseqConfig())
    cfg.model = {"_name": name}
    add_defaults(cfg)
    line = ["data", "--arch", name, "--criterion", "label_smoothed_cross_entropy"]
    args = options.parse_args_and_arch(options.get_training_parser("translation"), line)
    classic = convert_namespace_to_omegaconf(args)
    for option, value in {**expected, "region_dropout": 0.0, "regions_at_test": "shown"}.items():
        assert str(cfg.model[option]) == str(classic.model[option]) == str(value), option


def test_nano_halves_tiny_and_keeps_the_width_of_a_head():
    for option, value in TINY.items():
        halved = option.startswith(("encoder_", "decoder_")) and not option.endswith("normalize_before")
        assert NANO[option] == (value // 2 if halved else value)
    assert NANO["encoder_embed_dim"] / NANO["encoder_attention_heads"] == 32


@pytest.mark.parametrize("model", ["ikd_transformer", "multimodal_transformer", "gated_fusion"])
def test_layer_normalisation_can_be_put_last_on_the_command_line(model):
    def given(*words):
        line = ["data", "--arch", f"{model}_tiny", *words]
        return options.parse_args_and_arch(options.get_training_parser(), line)

    args = given("--encoder-normalize-before", "False")
    assert (args.encoder_normalize_before, args.decoder_normalize_before) == (False, True)
    assert given("--encoder-normalize-before").encoder_normalize_before is True
    assert given().encoder_normalize_before is True
    with pytest.raises(SystemExit):
        given("--encoder-normalize-before", "perhaps")


def test_postnorm_differs_from_tiny_in_where_normalisation_stands_alone():
    differing = {option for option, value in TINY.items() if POST_NORM[option] != value}
    assert differing == {"encoder_normalize_before", "decoder_normalize_before"}


def test_flat_options_reach_the_nested_configuration():
    config = nested_config(FlatTransformerConfig(encoder_embed_dim=8, decoder_embed_dim=6, dropout=0.3))
    assert (config.encoder.embed_dim, config.decoder.embed_dim, config.dropout) == (8, 6, 0.3)
    assert config.decoder.input_dim == config.decoder.output_dim == 6
