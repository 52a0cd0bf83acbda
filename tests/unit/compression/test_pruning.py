"""Pruning: masks against a plain sort, zeros that no optimizer moves, lossless packing, lost masks."""

import copy
from argparse import Namespace

import numpy as np
import pytest
import torch
from fairseq.dataclass.configs import FairseqConfig
from fairseq.optim.adafactor import FairseqAdafactor
from fairseq.optim.adam import FairseqAdam, FairseqAdamConfig
from fairseq.optim.fp16_optimizer import FP16Optimizer
from fairseq.optim.nag import FairseqNAG, FairseqNAGConfig
from omegaconf import OmegaConf

from ikd_fairseq.compression import pruning
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.checkpoints import tie
from ikd_fairseq.models.text_baseline import TextTransformerModel
from tests import toy
from tests.unit.models.image_free import imagination_model


def pruned_model(sparsity: float = 0.6) -> TextTransformerModel:
    model = toy.text_model()
    model.load_state_dict(pruning.prune_weights(model.state_dict(), sparsity))
    return model


def unique_masks(model):
    """(weight, mask) of each prunable parameter, shared ones once."""
    masks = dict(model.named_buffers())
    return [(value, masks[f"{name}_mask"]) for name, value in model.named_parameters() if value.dim() > 1]


def loss_of(model) -> torch.Tensor:
    batch = toy.batch(toy.tokens([1, 2, 3], [4, 5]), toy.tokens([6, 7], [8, 9, 10]))
    logits, _ = model(**batch["net_input"])
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), batch["target"].flatten())


# ---------------------------------------------------------------- masks


@pytest.mark.parametrize("sparsity", [0.01, 0.2, 0.5, 0.8, 0.937, 0.999])
def test_masks_are_those_of_a_plain_sort_over_all_weights(sparsity):
    generator = torch.Generator().manual_seed(1)
    weights = {
        name: torch.randn(shape, generator=generator) * scale
        for name, shape, scale in (("a", (7, 5), 1.0), ("b", (3, 4, 5), 0.1), ("c", (11, 2), 3.0))
    }
    masks = pruning.magnitude_masks(weights, sparsity)
    everything = np.concatenate([np.abs(value.numpy()).ravel() for value in weights.values()])
    expected = np.ones(len(everything), dtype=bool)
    expected[np.argsort(everything, kind="stable")[: round(sparsity * len(everything))]] = False
    found = np.concatenate([masks[name].numpy().ravel() for name in weights])
    np.testing.assert_array_equal(found, expected)
    assert all(masks[name].shape == weights[name].shape for name in weights)


@pytest.mark.parametrize("count", range(1, 12))
def test_of_equal_magnitudes_the_first_are_pruned_and_the_share_is_exact(count):
    weights = {
        "a": torch.tensor([[1.0, -2.0], [2.0, 0.0]]),
        "b": torch.tensor([[-2.0, 2.0, 5.0, 2.0], [0.0, 2.0, 2.0, -9.0]]),
    }
    order = [3, 8, 0, 1, 2, 4, 5, 7, 9, 10, 6, 11]  # by magnitude 0, 1, 2, 5, 9, and by place
    masks = pruning.magnitude_masks(weights, count / 12)
    found = torch.cat([masks["a"].flatten(), masks["b"].flatten()])
    assert sorted((~found).nonzero().flatten().tolist()) == sorted(order[:count])


def test_shared_weights_count_once_and_have_one_mask():
    state = toy.text_model().state_dict()
    embeddings = [
        f"{part}.weight"
        for part in ("encoder.embed_tokens", "decoder.embed_tokens", "decoder.output_projection")
    ]
    copies = tie({name: value.clone() for name, value in state.items()})  # what fairseq saves from a GPU
    size = sum(value.numel() for name, value in toy.text_model().named_parameters() if value.dim() > 1)
    for model in (state, copies):
        assert embeddings in pruning.prunable_groups(model)
        pruned = pruning.prune_weights(model, 0.5)
        assert len({pruned[name].data_ptr() for name in embeddings}) == 1
        assert len({pruned[f"{name}_mask"].data_ptr() for name in embeddings}) == 1
        zeros = sum(int((~pruned[f"{group[0]}_mask"]).sum()) for group in pruning.prunable_groups(pruned))
        assert zeros == round(0.5 * size)


def test_different_matrices_that_are_pruned_away_do_not_count_as_shared():
    model = {"a": torch.full((2, 2), 0.1), "b": torch.full((2, 2), 0.2), "c": torch.ones(2, 2)}
    assert len(pruning.prunable_groups(pruning.prune_weights(model, 0.7))) == 3


@pytest.mark.parametrize("build", [toy.text_model, toy.ikd_model, toy.image_must_model, imagination_model])
def test_matrices_of_the_translation_model_are_prunable_and_nothing_else(build):
    model = build()
    wanted = {
        name
        for name, value in model.named_parameters(remove_duplicate=False)
        if value.dim() >= 2 and not name.startswith(("student.", "imagination."))
    }
    state, left_out = model.state_dict(), model.training_only
    assert {name for group in pruning.prunable_groups(state, left_out) for name in group} == wanted
    pruned = pruning.prune_weights(state, 0.9, left_out)
    assert set(pruned) == set(state) | {f"{name}_mask" for name in wanted}
    for name in set(state) - wanted:
        assert torch.equal(pruned[name], state[name])
    for name in wanted:
        mask = pruned[f"{name}_mask"]
        assert not pruned[name][~mask].any() and torch.equal(pruned[name][mask], state[name][mask])


def test_pruning_further_keeps_what_was_pruned_and_pruning_less_is_refused():
    once = pruning.prune_weights(toy.text_model().state_dict(), 0.4)
    twice = pruning.prune_weights(once, 0.6)
    for name in (name for name in once if name.endswith("_mask")):
        assert not (twice[name] & ~once[name]).any()
    for share in (0.3, 0.4):
        with pytest.raises(IkdError, match=f"sparsity {share} would prune .* are pruned already"):
            pruning.prune_weights(once, share)


def test_an_earlier_mask_comes_before_zeros_that_were_kept():
    weights = {"a": torch.tensor([[0.0, 0.0, 3.0, 0.0]])}
    masks = pruning.magnitude_masks(weights, 0.5, {"a": torch.tensor([[True, True, True, False]])})
    assert masks["a"].tolist() == [[False, True, True, False]]


def test_weights_that_are_not_finite_are_refused_by_name():
    with pytest.raises(IkdError, match="fc1.weight holds weights that are not finite"):
        pruning.prune_weights({"fc1.weight": torch.tensor([[1.0, float("nan")]])}, 0.5)
    with pytest.raises(IkdError, match="no weight matrices"):
        pruning.prune_weights({"bias": torch.ones(3)}, 0.5)


# ---------------------------------------------------------------- training under a mask


def training_config(optimizer, **options):
    """fairseq's configuration with *optimizer*, a dataclass, at a learning rate of 0.05."""
    cfg = OmegaConf.structured(FairseqConfig())
    cfg.optimizer = OmegaConf.structured(optimizer)
    cfg.optimization.lr, cfg.optimization.update_freq = [0.05], [1]
    cfg.common.update(options)
    return cfg


def adam(parameters):
    return FairseqAdam(training_config(FairseqAdamConfig(weight_decay=0.1)).optimizer, parameters)


def nag(parameters):
    return FairseqNAG(training_config(FairseqNAGConfig(momentum=0.9, weight_decay=0.1)).optimizer, parameters)


def adafactor(parameters):
    options = Namespace(
        lr=[0.05],
        adafactor_eps="(1e-30, 1e-3)",
        clip_threshold=1.0,
        decay_rate=-0.8,
        beta1=0.9,
        weight_decay=0.1,
        scale_parameter=False,
        relative_step=False,
        warmup_init=False,
    )
    return FairseqAdafactor(options, parameters)


@pytest.mark.parametrize("build", [adam, nag, adafactor])
def test_masked_weights_stay_exactly_zero_and_the_others_learn(build):
    model = pruned_model()
    before = copy.deepcopy(model.state_dict())
    optimizer = build(list(model.parameters()))
    for _ in range(4):
        optimizer.zero_grad()
        for _ in range(2):  # accumulated gradients
            loss_of(model).backward()
        optimizer.clip_grad_norm(1.0)
        optimizer.step()
    for weight, mask in unique_masks(model):
        assert not weight[~mask].any()
    after = model.state_dict()
    for name in before:
        if name.endswith("_mask"):
            assert torch.equal(before[name], after[name])
    for name in ("encoder.layers.0.fc1.weight", "decoder.layers.0.encoder_attn.q_proj.weight"):
        mask = after[f"{name}_mask"]
        assert (before[name] != after[name])[mask].float().mean() > 0.9
    assert not torch.equal(before["encoder.layers.0.fc1.bias"], after["encoder.layers.0.fc1.bias"])


def test_masked_weights_stay_zero_in_the_fp32_copies_of_fp16_weights():
    model = pruned_model().half()
    cfg = training_config(
        FairseqAdamConfig(_name="adam", weight_decay=0.1), fp16=True, fp16_no_flatten_grads=True
    )  # flat ones need a GPU
    optimizer = FP16Optimizer.build_optimizer(cfg, list(model.parameters()))
    before = model.encoder.layers[0].fc1.weight.clone()
    for _ in range(3):
        optimizer.zero_grad()
        optimizer.backward(loss_of(model))
        optimizer.clip_grad_norm(0.0)
        optimizer.step()
    for weight, mask in unique_masks(model):
        assert weight.dtype == torch.float16 and not weight[~mask].any()
    for master, value in zip(optimizer.fp32_optimizer.params, model.parameters()):
        mask = next((mask for weight, mask in unique_masks(model) if weight is value), None)
        assert master.dtype == torch.float32 and master.shape == value.shape
        assert mask is None or not master[~mask].any()
    assert not torch.equal(before, model.encoder.layers[0].fc1.weight)


def test_gradients_that_overflow_do_not_reach_masked_weights():
    model = pruned_model()
    (loss_of(model) * float("inf")).backward()
    for weight, mask in unique_masks(model):
        assert not weight.grad[~mask].any()


def test_a_mask_that_keeps_everything_trains_as_no_mask_does():
    plain, masked = toy.text_model(), toy.text_model()
    state = masked.state_dict()
    masked.load_state_dict(
        {
            **state,
            **{
                f"{name}_mask": torch.ones_like(state[name], dtype=torch.bool)
                for group in pruning.prunable_groups(state)
                for name in group
            },
        }
    )
    for model in (plain, masked):
        optimizer = adam(list(model.parameters()))
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model).backward()
            optimizer.step()
    for name, value in plain.state_dict().items():
        assert torch.equal(value, masked.state_dict()[name])


def test_a_checkpoint_without_masks_adds_nothing_to_the_model():
    model = toy.text_model()
    names = set(model.state_dict())
    model.load_state_dict(toy.text_model().state_dict())
    assert set(model.state_dict()) == names
    assert not any(value._backward_hooks for value in model.parameters())


def test_masks_are_saved_and_loaded_with_the_model():
    first = pruned_model()
    second = toy.text_model()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert set(second.state_dict()) == set(first.state_dict())
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    loss_of(second).backward()
    for weight, mask in unique_masks(second):
        assert not weight.grad[~mask].any()


# ---------------------------------------------------------------- lost masks


@pytest.mark.parametrize("build", [toy.text_model, toy.ikd_model, toy.image_must_model, pruned_model])
def test_new_and_pruned_models_may_train(build):
    pruning.check_masks(build())


def test_a_pruned_model_that_lost_its_masks_is_refused():
    pruned = pruned_model(0.2).state_dict()
    state = {name: value for name, value in pruned.items() if not name.endswith("_mask")}
    model = toy.text_model()
    model.load_state_dict(state)
    with pytest.raises(IkdError, match=r"^(19|20)\.\d% of the model's weights are zero.*lost the pruning"):
        pruning.check_masks(model)


def test_a_model_that_lost_one_mask_is_refused_by_name():
    state = pruned_model().state_dict()
    del state["encoder.layers.1.fc2.weight_mask"]
    model = toy.text_model()
    model.load_state_dict(state)
    with pytest.raises(IkdError, match="encoder.layers.1.fc2.weight has no pruning mask though"):
        pruning.check_masks(model)


def test_masks_of_another_checkpoint_are_refused():
    state = {**pruned_model(0.6).state_dict()}
    state["decoder.layers.0.fc1.weight"] = toy.text_model().state_dict()["decoder.layers.0.fc1.weight"]
    model = toy.text_model()
    model.load_state_dict(state)
    with pytest.raises(IkdError, match="decoder.layers.0.fc1.weight is not zero where its pruning mask"):
        pruning.check_masks(model)


# ---------------------------------------------------------------- packing


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_unpacking_gives_back_every_bit(dtype):
    state = pruned_model(0.8).to(dtype).state_dict()
    name = "encoder.layers.0.fc1.weight"
    state[name][state[f"{name}_mask"]] = -0.0  # kept, though zero
    state["odd"] = torch.tensor([[1.0, 0.0, 2.0]], dtype=dtype)
    state["odd_mask"] = torch.tensor([[True, False, True]])
    packed = pruning.pack_weights(state)
    assert "odd" not in packed and packed["odd_mask_bits"].tolist() == [0b10100000]
    assert packed["odd_kept"].tolist() == [1.0, 2.0] and packed["odd_shape"].tolist() == [1, 3]
    pruning.unpack_weights(packed)
    assert set(packed) == set(state)
    for name, value in state.items():
        assert packed[name].dtype == value.dtype and packed[name].shape == value.shape
        assert packed[name].numpy().tobytes() == value.numpy().tobytes()


def test_a_packed_model_loads_as_the_model_and_keeps_its_masks():
    first, second = pruned_model(), toy.text_model()
    second.load_state_dict(pruning.pack_weights(first.state_dict()))
    assert torch.equal(loss_of(first), loss_of(second))
    pruning.check_masks(second)
    assert set(second.state_dict()) == set(first.state_dict())


def test_models_without_masks_and_damaged_packs_are_refused():
    with pytest.raises(IkdError, match="encoder.embed_tokens.weight has no pruning mask"):
        pruning.pack_weights(toy.text_model().state_dict())
    packed = pruning.pack_weights(pruned_model().state_dict())
    name = "encoder.layers.0.fc1.weight"
    for damaged in (f"{name}_kept", f"{name}_mask_bits"):
        with pytest.raises(IkdError, match=f"packed weight {name} is damaged"):
            pruning.unpack_weights({**packed, damaged: packed[damaged][:-1]})
    del packed[f"{name}_shape"]
    with pytest.raises(IkdError, match=f"packed weight {name} is damaged"):
        pruning.unpack_weights(packed)
