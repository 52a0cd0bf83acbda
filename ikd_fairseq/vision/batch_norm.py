"""Batch normalisation over the images of all workers, in which a worker without images takes part too."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

_HALF = (torch.float16, torch.bfloat16)


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation of ``N x C x *`` whose training statistics are those of all workers.

    Two workers therefore equal one worker with twice the batch, in outputs, gradients and running statistics,
    however unevenly the images are spread. A single process computes what ``nn.BatchNorm2d`` computes.
    ``torch.nn.SyncBatchNorm`` will not do: it refuses tensors on the CPU (and so gloo) and empty batches.

    An empty batch (``N = 0``) gives an empty output and zero gradients. While other workers have images it
    takes part in their reductions, in the backward pass too. So its output must reach the loss (a sum over
    nothing will do), or the others wait for ever. Where all workers together have fewer than two values a
    channel there is no variance: the running statistics normalise then, and stay as they are.

    Statistics are computed in float32 at least, also for half-precision input and parameters, and the running
    ones stay float32 in a model that was cast to half precision: there, a momentum's worth of a small change
    would be rounded away, and their average stand still.

    Args:
        num_features: C.
    """

    def _apply(self, fn, *args, **kwargs):
        """What all of ``half()``, ``to()`` and ``cuda()`` go through."""
        before = {name: self._buffers[name] for name in ("running_mean", "running_var")}
        super()._apply(fn, *args, **kwargs)
        for name, statistics in before.items():
            after = self._buffers[name]
            if after.dtype in _HALF:
                self._buffers[name] = statistics.to(after.device, torch.float32)
        return self

    def forward(self, input: Tensor) -> Tensor:
        """Normalises *input*, ``N x C x *``; the result has its shape, type and memory format."""
        if self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return self._forward_over_workers(input)

        use_batch = self.training and input.numel() >= 2 * self.num_features
        running = self.running_mean, self.running_var
        affine = _at_least_float32(self.weight), _at_least_float32(self.bias)
        output = F.batch_norm(input, *running, *affine, use_batch, self.momentum, self.eps)
        if use_batch:
            self.num_batches_tracked.add_(1)
        return output

    def _forward_over_workers(self, input: Tensor) -> Tensor:
        values = _at_least_float32(input.detach())
        size = values.numel() // self.num_features
        # Sum and sum of squares over this worker, by way of the differences from its own mean: squares of
        # float32 values would lose the variance of a channel whose mean is far from zero.
        near = (_sum_by_channel(values) / max(1, size)).to(values.dtype)
        differences = values - near.view(_along_channels(values))
        near, rest = near.double(), _sum_by_channel(differences)
        total = rest + size * near
        squares = _sum_by_channel(differences.square()) + 2 * near * rest + size * near.square()

        totals = _sum_over_workers(torch.cat([total, squares, total.new_full((1,), size)]))
        total, squares, count = totals.split([self.num_features, self.num_features, 1])

        enough = count >= 2  # a tensor: reading its value would make a GPU wait
        mean = total / count.clamp(min=1)
        var = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
        unbiased = var * count / (count - 1).clamp(min=1)
        old_mean, old_var = self.running_mean.double(), self.running_var.double()
        self.running_mean.copy_(torch.where(enough, old_mean.lerp(mean, self.momentum), old_mean))
        self.running_var.copy_(torch.where(enough, old_var.lerp(unbiased, self.momentum), old_var))
        self.num_batches_tracked.add_(enough.squeeze())
        return _NormaliseOverWorkers.apply(
            input,
            _at_least_float32(self.weight),
            _at_least_float32(self.bias),
            torch.where(enough, mean, old_mean).to(values.dtype),
            torch.where(enough, var, old_var).to(values.dtype),
            torch.where(enough, 1 / count.clamp(min=1), 0).to(values.dtype),
            self.eps,
        )


class _NormaliseOverWorkers(Function):
    """Batch norm by given statistics, whose gradient counts that the images of all workers made them.

    The last argument but one is the share of one value in the statistics: 1 / count, or 0 where they are
    constants.
    """

    @staticmethod
    def forward(ctx, input, weight, bias, mean, var, share, eps):
        ctx.save_for_backward(input, weight, mean, torch.rsqrt(var + eps), share)
        return F.batch_norm(input, mean, var, weight, bias, training=False, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_output):
        input, weight, mean, inverse_std, share = ctx.saved_tensors
        shape = _along_channels(input)
        grad = _at_least_float32(grad_output)
        normal = (_at_least_float32(input) - mean.view(shape)) * inverse_std.view(shape)
        grad_bias, grad_weight = _sum_by_channel(grad), _sum_by_channel(grad * normal)

        totals = _sum_over_workers(torch.stack([grad_bias, grad_weight]))
        by_mean, by_var = (totals.to(grad.dtype) * share).unbind()
        grad_normal = grad - by_mean.view(shape) - normal * by_var.view(shape)
        grad_input = grad_normal * (weight * inverse_std).view(shape)
        own = grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)
        return grad_input.to(input.dtype), *own, None, None, None, None


def _sum_over_workers(values: Tensor) -> Tensor:
    """Sums *values*, in place, in the group that reduces gradients: in NCCL two at once can hang."""
    from fairseq.distributed import utils as distributed  # a CNN by itself needs no fairseq

    return distributed.all_reduce(values, distributed.get_data_parallel_group())


def _sum_by_channel(values: Tensor) -> Tensor:
    """Sums ``N x C x *`` over all but C, in float64."""
    return values.sum([axis for axis in range(values.dim()) if axis != 1], dtype=torch.float64)


def _along_channels(values: Tensor) -> list[int]:
    """The shape that lines C numbers up with ``N x C x *``."""
    return [1, -1] + [1] * (values.dim() - 2)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in _HALF else tensor
