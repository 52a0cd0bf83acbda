"""A trained generator as one affine map up to its ReLU: decoding changes nothing of it."""

import torch
from torch import Tensor, nn

from .feature_generator import FeatureGenerator, masked_mean


class FoldedGenerator(nn.Module):
    """A :class:`FeatureGenerator` with one matrix ``d x P*C`` instead of projection, unpool and norm.

    With ``conv`` and ResNet-50 at 224 pixels a sixteenth of the weights, which decoding a sentence alone has
    to read. Rounding apart the same. It has no state of its own to save.

    Args:
        generator: in eval mode. Its images of zero and of the unit vectors are the map, so any kind of unpool
            and norm will do.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, generator: FeatureGenerator):
        super().__init__()
        self.activation = generator.activation
        dtype = generator.projection.weight.dtype
        generator.activation = nn.Identity()
        generator.float()  # columns are differences: of values in half precision, rounding would be left
        try:
            wanted = generator.projection.weight
            width = wanted.size(1)
            vectors = torch.cat([wanted.new_zeros(1, width), torch.eye(width).to(wanted)])
            with torch.no_grad():  # the mean over a single token is its vector
                values = generator(vectors.unsqueeze(1), torch.zeros_like(vectors[:, :1], dtype=torch.bool))
        finally:
            generator.activation = self.activation
            generator.to(dtype)
        self.regions = values.size(1)
        values = values.flatten(1)  # (1 + d) x P*C
        self.register_buffer("bias", values[0].to(dtype, copy=True), persistent=False)
        self.register_buffer("weight", (values[1:] - values[0]).to(dtype), persistent=False)

    def forward(self, text: Tensor, padding_mask: Tensor) -> Tensor:
        """As :meth:`FeatureGenerator.forward`."""
        values = torch.addmm(self.bias, masked_mean(text, padding_mask), self.weight)
        return self.activation(values.view(text.size(0), self.regions, -1))


def fold(generator: nn.Module) -> nn.Module:
    """*generator* folded, in eval mode; itself where it would grow, or its statistics are a batch's."""
    generator.eval()
    if not isinstance(generator, FeatureGenerator) or generator.batch_norm.training:
        return generator
    embed_dim, channels, regions, *_ = generator.sizes
    weights = sum(weight.numel() for weight in generator.parameters())
    return FoldedGenerator(generator) if embed_dim * channels * regions < weights else generator
