"""Synced batch norm: equal to PyTorch's alone, equal to one process over two, at ease with empty batches."""

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from ikd_fairseq.vision.backbones import get_backbone
from ikd_fairseq.vision.batch_norm import SyncedBatchNorm
from ikd_fairseq.vision.inverse_cnn import InverseCNN
from tests.closeness import assert_close_to_scale

CHANNELS = 3


def make_norm(kind=SyncedBatchNorm):
    """A norm whose every number differs from its start value, so that ignoring one shows."""
    norm = kind(CHANNELS)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, 1.5, -2.0]))
        norm.bias.copy_(torch.tensor([0.1, -0.2, 0.3]))
        norm.running_mean.copy_(torch.tensor([1.0, -1.0, 4.0]))
        norm.running_var.copy_(torch.tensor([2.0, 0.5, 3.0]))
    return norm


def make_input(count=4):
    torch.manual_seed(5)
    return torch.randn(count, CHANNELS, 5, 2) * torch.tensor([1.0, 3.0, 0.2]).view(3, 1, 1) + 7


def run(norm, input):
    """Output, gradients (input, weight, bias) and running statistics after one weighted sum is propagated."""
    input = input.clone().requires_grad_()
    output = norm(input)
    weights = torch.arange(1.0, 1 + output[0].numel()).view(output.shape[1:]) if len(output) else 1.0
    ((output * weights) ** 2).sum().backward()
    return {
        "output": output.detach(),
        "input": input.grad,
        "weight": norm.weight.grad,
        "bias": norm.bias.grad,
        "mean": norm.running_mean,
        "var": norm.running_var,
        "batches": norm.num_batches_tracked,
    }


@pytest.mark.parametrize("training", [True, False])
def test_a_single_process_equals_batch_norm_2d(training):
    ours = run(make_norm().train(training), make_input())
    theirs = run(make_norm(nn.BatchNorm2d).train(training), make_input())
    for name in theirs:
        assert torch.equal(ours[name], theirs[name]), name


def make_vectors():
    """``N x C``, as the generator's regions are normalised one by one."""
    return make_input().mean((2, 3))


def test_vectors_are_normalised_like_batch_norm_1d():
    vectors = make_vectors()
    assert torch.equal(make_norm()(vectors), make_norm(nn.BatchNorm1d)(vectors))


def test_an_empty_batch_changes_nothing_and_gives_zero_gradients():
    norm, untouched = make_norm(), make_norm()
    result = run(norm, make_input()[:0])
    assert result["output"].shape == (0, CHANNELS, 5, 2)
    assert result["weight"].tolist() == result["bias"].tolist() == [0.0] * CHANNELS
    for (name, after), before in zip(norm.state_dict().items(), untouched.state_dict().values()):
        assert torch.equal(after, before), name


def test_a_single_value_is_normalised_by_the_running_statistics():
    norm, reference = make_norm(), make_norm(nn.BatchNorm2d).eval()
    value = make_input()[:1, :, :1, :1]
    assert torch.equal(norm(value), reference(value))
    assert torch.equal(norm.running_var, reference.running_var)
    assert norm.num_batches_tracked == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_computes_its_statistics_in_float32(dtype):
    # 1000 values of 200 and more: their sum of squares overflows float16, and bfloat16 keeps no variance.
    values = (200 + torch.arange(1000.0).remainder(8)).to(dtype)
    input = values.view(1000, 1, 1, 1).expand(-1, CHANNELS, -1, -1)
    norm = SyncedBatchNorm(CHANNELS).to(dtype)
    output = norm(input)
    assert output.dtype == norm.weight.dtype == dtype
    expected = nn.BatchNorm2d(CHANNELS)(input.float())
    assert (output.float() - expected).abs().max() < 0.01
    assert norm.running_mean[0].item() == pytest.approx(20.35, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_running_statistics_of_a_half_module_are_those_of_a_float32_one(dtype):
    single, half = SyncedBatchNorm(CHANNELS), SyncedBatchNorm(CHANNELS).to(dtype)
    torch.manual_seed(6)
    for _ in range(300):
        input = (torch.randn(4, CHANNELS, 2, 2) * 3 + 7).to(dtype)
        single(input.float())
        half(input)
    torch.testing.assert_close(half.running_mean, single.running_mean, rtol=1e-3, atol=0)
    torch.testing.assert_close(half.running_var, single.running_var, rtol=1e-3, atol=0)


@pytest.mark.parametrize("cast", [nn.Module.half, nn.Module.bfloat16, lambda m: m.double().half()])
def test_a_cast_to_half_leaves_the_running_statistics_in_float32_to_the_bit(cast):
    norm = make_norm()
    norm.running_mean.div_(3)  # numbers that half precision cannot hold
    norm.running_var.div_(3)
    before = {name: tensor.clone() for name, tensor in norm.state_dict().items()}
    state = cast(nn.Sequential(nn.Conv2d(3, CHANNELS, 1), norm)).state_dict()
    assert state["0.weight"].dtype == state["1.weight"].dtype == state["1.bias"].dtype != torch.float32
    for name in ("running_mean", "running_var"):
        assert state["1." + name].dtype == torch.float32
        assert torch.equal(state["1." + name], before[name])


@pytest.mark.parametrize(
    "move, dtype",
    [
        (lambda norm: norm.to("meta"), torch.float32),
        (lambda norm: norm.to("meta", torch.float16), torch.float32),
        (lambda norm: norm.half().to("meta"), torch.float32),
        (lambda norm: norm.to("meta", torch.float64), torch.float64),
    ],
    ids=["move", "move and cast", "cast, then move", "move and widen"],
)
def test_running_statistics_move_with_the_module(move, dtype):
    norm = make_norm()
    assert move(norm) is norm
    assert {tensor.device.type for tensor in norm.state_dict().values()} == {"meta"}
    assert norm.running_mean.dtype == norm.running_var.dtype == dtype


@pytest.mark.parametrize("ours", [torch.float32, torch.float16])
@pytest.mark.parametrize("saved", [torch.float32, torch.float16])
def test_a_state_dict_of_either_precision_is_loaded(ours, saved):
    state = {n: t.to(saved) if t.is_floating_point() else t for n, t in make_norm().state_dict().items()}
    norm = SyncedBatchNorm(CHANNELS).to(ours)
    norm.load_state_dict(state)
    assert norm.weight.dtype == ours and norm.running_mean.dtype == norm.running_var.dtype == torch.float32
    assert norm.running_mean.tolist() == [1.0, -1.0, 4.0] and norm.running_var.tolist() == [2.0, 0.5, 3.0]
    assert norm(make_input().to(ours)).isfinite().all()


def student_gradients(regions):
    torch.manual_seed(2)
    student = InverseCNN(get_backbone("efficientnet_lite0"), 64).double()
    output = student(regions)
    # Each image weighs by its own values, so that mixing images up or losing one shows.
    loss = (output.image**2).sum() + sum((m**3).sum() for m in output.maps)
    loss.backward()
    return [p.grad for p in student.parameters()] + [b.double() for b in student.buffers()]


def make_regions():
    torch.manual_seed(3)
    return torch.randn(4, 4, 320, dtype=torch.float64)


SPLITS = {"3 and 1": 3, "4 and 0": 4, "0 and 4": 0}


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    results = {}
    for name, first in SPLITS.items():
        mine = slice(0, first) if rank == 0 else slice(first, 4)
        results[name] = run(make_norm(), make_input()[mine])
        # In float64: four values of a channel lie so close together that float32's gradients lose digits.
        results["vectors " + name] = run(make_norm().double(), make_vectors().double()[mine])
        results["student " + name] = student_gradients(make_regions()[mine])
    results["none"] = run(make_norm(), make_input()[:0])
    results["one value"] = run(make_norm(), make_input()[: 1 - rank, :, :1, :1])
    results["eval"] = run(make_norm().eval(), make_input()[: 3 - rank])
    torch.save(results, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    mp.spawn(worker, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.parametrize("kind", ["", "vectors "])
@pytest.mark.parametrize("split", SPLITS)
def test_two_workers_equal_one_with_the_whole_batch(two_workers, split, kind):
    plain, input = (nn.BatchNorm1d, make_vectors()) if kind else (nn.BatchNorm2d, make_input())
    whole = run(make_norm(plain).double(), input.double())
    first, second = (results[kind + split] for results in two_workers)
    for name in ("output", "input"):
        assert_close_to_scale(
            torch.cat([first[name], second[name]]).double(), whole[name].double(), what=name
        )
    for name in ("weight", "bias"):
        assert_close_to_scale((first[name] + second[name]).double(), whole[name].double(), what=name)
    for name in ("mean", "var", "batches"):
        assert torch.equal(first[name], second[name]), name
        assert_close_to_scale(first[name].double(), whole[name].double(), what=name)


@pytest.mark.parametrize("split", SPLITS)
def test_a_student_over_two_workers_learns_as_over_one(two_workers, split):
    whole = student_gradients(make_regions())
    parameters = sum(1 for _ in InverseCNN(get_backbone("efficientnet_lite0"), 64).parameters())
    found = [results["student " + split] for results in two_workers]
    for index, (first, second, expected) in enumerate(zip(*found, whole)):
        together = first + second if index < parameters else first  # gradients add up, buffers agree
        assert torch.allclose(together, expected, rtol=1e-6, atol=1e-8)


def test_workers_that_are_all_empty_change_nothing(two_workers):
    for results in two_workers:
        assert results["none"]["weight"].tolist() == [0.0] * CHANNELS
        assert torch.equal(results["none"]["mean"], make_norm().running_mean)
        assert torch.equal(results["none"]["var"], make_norm().running_var)
        assert results["none"]["batches"] == 0


def test_a_single_value_of_all_workers_is_normalised_by_the_running_statistics(two_workers):
    expected = run(make_norm(nn.BatchNorm2d).eval(), make_input()[:1, :, :1, :1])
    first, second = (results["one value"] for results in two_workers)
    for name in ("output", "input", "weight", "bias", "mean", "var"):
        assert_close_to_scale(first[name], expected[name], what=name)
    assert second["output"].shape == (0, CHANNELS, 1, 1)
    assert torch.equal(second["mean"], expected["mean"])


def test_in_eval_mode_workers_are_on_their_own(two_workers):
    for rank, results in enumerate(two_workers):
        expected = run(make_norm(nn.BatchNorm2d).eval(), make_input()[: 3 - rank])
        assert torch.equal(results["eval"]["output"], expected["output"])
