"""Options that cannot be are refused in a sentence when the model is built."""

from types import SimpleNamespace

import pytest
import torch

from ikd_fairseq.contracts import CriterionContract, ModelContract
from ikd_fairseq.errors import IkdError
from ikd_fairseq.models.config import nested_config
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig
from ikd_fairseq.tasks.option_checks import (
    check_criterion,
    check_ensemble,
    check_model_options,
    check_precision,
    warn_of_idle_parts,
)
from tests import toy
from tests.unit.models.image_free import imagination_model


def machine(monkeypatch, gpu: bool, bfloat16: bool = True) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: bfloat16)


@pytest.mark.parametrize("option", ["fp16", "bf16"])
def test_half_precision_needs_a_gpu_that_is_there_and_used(monkeypatch, option):
    asked = {"fp16": False, "bf16": False, option: True}
    machine(monkeypatch, gpu=True)
    check_precision(SimpleNamespace(cpu=False, **asked))
    with pytest.raises(IkdError, match=f"--{option} .* --cpu uses none"):
        check_precision(SimpleNamespace(cpu=True, **asked))
    machine(monkeypatch, gpu=False)
    with pytest.raises(IkdError, match=f"--{option} .* this machine has none"):
        check_precision(SimpleNamespace(cpu=False, **asked))
    check_precision(SimpleNamespace(cpu=True, fp16=False, bf16=False))
    check_precision(SimpleNamespace(cpu="${common.cpu}", fp16="${common.fp16}", bf16=None))  # built by hand


def test_amp_of_fairseq_would_scale_gradients_twice():
    """That it still would is shown here: an optimizer that steps by its gradient gets a part of it."""
    from fairseq.optim.amp_optimizer import AMPOptimizer

    weight = torch.nn.Parameter(torch.zeros(1))
    inner = SimpleNamespace(
        clip_grad_norm=lambda *_: weight.grad.norm(), optimizer=torch.optim.SGD([weight], 1.0)
    )
    inner.step, inner.param_groups = inner.optimizer.step, inner.optimizer.param_groups
    amp = AMPOptimizer.__new__(AMPOptimizer)
    amp.fp32_optimizer, amp._grad_scaler = inner, torch.amp.GradScaler("cpu", init_scale=128.0)
    amp.backward(3 * weight.sum())
    assert amp.clip_grad_norm(0) == 3
    amp.step()
    assert float(-weight) == 3 / 128
    with pytest.raises(IkdError, match="--amp .* twice: give --fp16 or --bf16-autocast"):
        check_precision(SimpleNamespace(cpu=False, fp16=False, bf16=False, amp=True))


def test_bfloat16_needs_a_gpu_that_knows_it(monkeypatch):
    machine(monkeypatch, gpu=True, bfloat16=False)
    with pytest.raises(IkdError, match="--bf16 .* no bfloat16: give --fp16"):
        check_precision(SimpleNamespace(cpu=False, fp16=False, bf16=True))


def test_layers_that_are_computed_again_would_be_so_in_float32():
    autocast, again = SimpleNamespace(bf16_autocast=True), SimpleNamespace(checkpoint_activations=True)
    check_precision(autocast, SimpleNamespace(checkpoint_activations=False))
    check_precision(SimpleNamespace(bf16_autocast=False), again)
    with pytest.raises(IkdError, match="--checkpoint-activations .* drop one of the two"):
        check_precision(autocast, again)


@pytest.mark.parametrize(("make", "part"), [(toy.ikd_model, "student"), (imagination_model, "imagination")])
def test_parts_that_the_criterion_does_not_train_are_named(make, part, caplog):
    caplog.set_level("WARNING")
    warn_of_idle_parts(toy.kept(CriterionContract, uses_images=True), make())
    warn_of_idle_parts(SimpleNamespace(), make(**{f"no_{part}": True}))
    warn_of_idle_parts(SimpleNamespace(), make().requires_grad_(False))
    assert not caplog.records
    warn_of_idle_parts(SimpleNamespace(), make())
    assert f"does not train the model's {part}: build it with --no-{part} " in caplog.text


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"dropout": 1.5}, "--dropout 1.5: "),
        ({"attention_dropout": -0.1}, "--attention-dropout -0.1: "),
        ({"encoder_layers": 0}, "--encoder-layers 0: "),
        ({"decoder_ffn_embed_dim": -8}, "--decoder-ffn-embed-dim -8: "),
        (
            {"encoder_attention_heads": 3},
            "--encoder-attention-heads 3 does not divide --encoder-embed-dim 16",
        ),
    ],
)
def test_sizes_and_rates_that_cannot_be_are_refused(options, wrong):
    words = toy.dictionary()
    check_model_options(IKDTransformerConfig(**toy.SIZES), words, words)
    with pytest.raises(IkdError, match=wrong):
        check_model_options(IKDTransformerConfig(**{**toy.SIZES, **options}), words, words)


def test_separate_dictionaries_need_separate_embeddings():
    words, others = toy.dictionary(), toy.dictionary(21)
    shared = IKDTransformerConfig(**toy.SIZES)
    with pytest.raises(IkdError, match="--joined-dictionary, or add --separate-embeddings"):
        check_model_options(shared, words, others)
    assert nested_config(shared).share_all_embeddings
    separate = IKDTransformerConfig(**toy.SIZES, separate_embeddings=True)
    check_model_options(separate, words, others)
    assert not nested_config(separate).share_all_embeddings


def test_an_adaptive_softmax_is_refused_for_criterions_that_need_all_logits():
    adaptive = SimpleNamespace(decoder=SimpleNamespace(adaptive_softmax=torch.nn.Identity()))
    with pytest.raises(IkdError, match="--adaptive-softmax-cutoff .* --criterion adaptive_loss"):
        check_criterion(CriterionContract(), adaptive)
    check_criterion(SimpleNamespace(eps=0.1), adaptive)
    check_criterion(CriterionContract(), SimpleNamespace(decoder=SimpleNamespace(adaptive_softmax=None)))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_label_smoothing_is_a_share(smoothing):
    with pytest.raises(IkdError, match=f"--label-smoothing {smoothing}: give a share"):
        check_criterion(SimpleNamespace(eps=smoothing), None)


def test_fairseqs_own_models_are_refused_beside_one_that_looks_at_images():
    looking, free = (toy.kept(ModelContract, requires_images=looks) for looks in (True, False))
    check_ensemble([looking, free])
    check_ensemble([free, object()])
    with pytest.raises(IkdError, match="take no images, .* transformer_mmt"):
        check_ensemble([looking, object()])
