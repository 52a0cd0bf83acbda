"""Batch normalisation over the images of all workers, in which a worker without images takes part too."""

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as dist_nn
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation of ``N x C x *`` whose training statistics are those of all workers.

    Two workers therefore equal one worker with twice the batch, in outputs, gradients and running statistics,
    however unevenly the images are spread. A single process computes what ``nn.BatchNorm2d`` computes.
    ``torch.nn.SyncBatchNorm`` will not do: it refuses tensors on the CPU (and so gloo) and empty batches.

    An empty batch (``N = 0``) gives an empty output and zero gradients. While other workers have images it still
    takes part in their reductions, in the backward pass too. So its output must reach the loss (a sum over
    nothing will do), or the others wait for ever. Where all workers together have fewer than two values a
    channel there is no variance: the running statistics normalise then, and stay as they are.

    Statistics are computed in float32 at least, also for half-precision input and parameters.

    Args:
        num_features: C.
        eps: added to the variance.
        momentum: share of this batch in the new running statistics.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__(num_features, eps, momentum)

    def forward(self, input: Tensor) -> Tensor:
        """Normalises *input*, ``N x C x *``; the result has its shape, type and memory format."""
        if self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            return self._forward_over_workers(input)

        use_batch = self.training and input.numel() >= 2 * self.num_features
        mean, var = _at_least_float32(self.running_mean), _at_least_float32(self.running_var)
        output = F.batch_norm(
            input,
            mean,
            var,
            _at_least_float32(self.weight),
            _at_least_float32(self.bias),
            training=use_batch,
            momentum=self.momentum,
            eps=self.eps,
        )
        if use_batch:
            self.num_batches_tracked.add_(1)
            if mean is not self.running_mean:
                self.running_mean.copy_(mean)
                self.running_var.copy_(var)
        return output

    def _forward_over_workers(self, input: Tensor) -> Tensor:
        values = _at_least_float32(input)
        axes = [axis for axis in range(input.dim()) if axis != 1]
        # One reduction for count, sum and sum of squares. Accumulated in float64, the difference of the last two
        # loses nothing; the reduced tensor is tiny.
        local = torch.cat(
            [
                values.sum(axes, dtype=torch.float64),
                values.square().sum(axes, dtype=torch.float64),
                values.new_full((1,), values.numel() / self.num_features, dtype=torch.float64),
            ]
        )
        total, squares, count = dist_nn.all_reduce(local).split([self.num_features, self.num_features, 1])
        enough = count >= 2
        mean = total / count.clamp(min=1)
        var = (squares / count.clamp(min=1) - mean.square()).clamp(min=0)
        with torch.no_grad():
            unbiased = var * count / (count - 1).clamp(min=1)
            share = self.momentum * enough
            self.running_mean.copy_(torch.lerp(self.running_mean.double(), mean, share))
            self.running_var.copy_(torch.lerp(self.running_var.double(), unbiased, share))
            self.num_batches_tracked.add_(enough.squeeze())
        mean = torch.where(enough, mean, self.running_mean.double())
        var = torch.where(enough, var, self.running_var.double())

        # y = scale * x + shift, with C along the second axis.
        scale = _at_least_float32(self.weight) * torch.rsqrt(var + self.eps)
        shift = _at_least_float32(self.bias) - mean * scale
        shape = [1, -1] + [1] * (input.dim() - 2)
        output = values * scale.to(values.dtype).view(shape) + shift.to(values.dtype).view(shape)
        return output.to(input.dtype)


def _at_least_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor
