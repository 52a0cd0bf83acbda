"""No string of a checkpoint runs, names a file to be read, or builds anything but translation."""

from argparse import Namespace

import pytest
import torch
from fairseq import checkpoint_utils

from ikd_fairseq.checkpoint_settings import check_settings
from ikd_fairseq.errors import IkdError

HARMLESS = {"model": {"_name": "transformer"}, "task": {"_name": "translation"}, "criterion": None}


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"model": {"_name": "wav2vec2", "conv_feature_layers": "RUN"}}, "its model is 'wav2vec2'"),
        ({"model": {"wav2vec2": {"_name": "wav2vec2"}}}, "its model is None"),
        ({"model": {"_name": "no such model"}}, "its model is 'no such model'"),
        ({"model": {"_name": ["transformer"]}}, r"its model is \['transformer'\]"),
        ({"model": "transformer"}, "its settings of the model are damaged"),
        ({"model": Namespace(arch="wav2vec2")}, "its model is 'wav2vec2'"),
        ({"task": {"_name": "translation_multi_simple_epoch", "lang_pairs": "RUN"}}, "its task is"),
        ({"criterion": {"_name": "wav2vec"}}, "its criterion is 'wav2vec'"),
        ({"model": {"_name": "transformer", "adaptive_softmax_cutoff": "RUN"}}, "option adaptive_softmax"),
        ({"model": {"_name": "ikd_transformer", "decoder": {"xformers_att_config": "RUN"}}}, "xformers"),
        ({"model": {"_name": "ikd_transformer", "encoder_xformers_att_config": "RUN"}}, "option encoder_xf"),
        ({"model": Namespace(_name="transformer", decoder=Namespace(xformers_att_config="RUN"))}, "xformers"),
        ({"model": {"_name": "transformer", "adaptive_softmax_cutoff": ["RUN"]}}, "option adaptive_softmax"),
        ({"model": {"_name": "transformer", "adaptive_softmax_cutoff": "${task.data}"}}, "option adaptive"),
        ({"optimizer": {"_name": "adam", "adam_betas": "RUN"}}, "option adam_betas"),
        ({"optimizer": {"_name": "adafactor", "adafactor_eps": "RUN"}}, "option adafactor_eps"),
        ({"lr_scheduler": {"_name": "x", "lamb_betas": "RUN"}}, "option lamb_betas"),
        ({"tokenizer": {"_name": "RUN"}}, "settings name the tokenizer"),
        ({"bpe": {"_name": "RUN"}}, "settings name the bpe"),
        ({"bpe": "subword_nmt"}, "settings of the bpe are damaged"),
        ({"bpe": {"_name": "subword_nmt", "bpe_codes": "https://elsewhere/code"}}, "option bpe_codes"),
        ({"bpe": {"_name": "sentencepiece", "sentencepiece_model": "http://elsewhere"}}, "sentencepiece"),
        ({"generation": {"replace_unk": "/etc/passwd"}}, "option replace_unk"),
        ({"generation": {"lm_path": "/etc/passwd"}}, "option lm_path"),
        ({"distributed_training": {"pipeline_balance": "RUN"}}, "option pipeline_balance"),
    ],
)
def test_no_string_of_a_checkpoint_runs_and_nothing_of_another_kind_is_built(tmp_path, settings, culprit):
    path, marker = tmp_path / "bad.pt", tmp_path / "marker"
    text = f"__import__('pathlib').Path({str(marker)!r}).touch() or [9]"

    def fill(value):
        if isinstance(value, dict):
            return {key: fill(entry) for key, entry in value.items()}
        if isinstance(value, Namespace):
            return Namespace(**fill(vars(value)))
        if isinstance(value, list):
            return list(map(fill, value))
        return text if value == "RUN" else value

    torch.save({"model": {}, "args": None, "cfg": {**HARMLESS, **fill(settings)}}, path)
    with pytest.raises(IkdError, match=rf"bad\.pt is refused: .*{culprit}"):
        checkpoint_utils.load_model_ensemble([str(path)])
    assert not marker.exists()


@pytest.mark.parametrize("cfg", [[], "settings", Namespace()])
def test_settings_that_are_no_settings_are_refused(tmp_path, cfg):
    torch.save({"model": {}, "args": None, "cfg": cfg or [1]}, tmp_path / "bad.pt")
    with pytest.raises(IkdError, match=r"bad\.pt is refused: its settings are damaged"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "bad.pt"))


def test_checkpoints_from_before_hydra_are_looked_at_too(tmp_path):
    args = Namespace(arch="transformer", task="translation", criterion="wav2vec")
    torch.save({"model": {}, "args": args}, tmp_path / "bad.pt")
    with pytest.raises(IkdError, match="its criterion is 'wav2vec'"):
        checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "bad.pt"))


def test_settings_of_translation_are_harmless():
    cutoff = {"_name": "transformer", "adaptive_softmax_cutoff": "[5, 10]"}
    ours = {"_name": "inversion_distillation"}
    for settings in (
        {},
        {"model": cutoff},
        {"criterion": ours},
        {"task": {"_name": "multimodal_translation"}},
        {"optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)"}},
        {"optimizer": {"_name": "adam", "adam_betas": (0.9, 0.98)}, "bpe": None},
        {"bpe": {"_name": "subword_nmt", "bpe_codes": "/anywhere/code"}, "tokenizer": {"_name": "moses"}},
        {"criterion": {"_name": "adaptive_loss"}, "generation": {"replace_unk": None, "lm_path": None}},
    ):
        check_settings({"model": {}, "cfg": {**HARMLESS, **settings}}, "good.pt")
    args = Namespace(arch="transformer_iwslt_de_en", task="translation", criterion="cross_entropy")
    check_settings({"model": {}, "args": args}, "good.pt")
