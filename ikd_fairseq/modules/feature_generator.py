"""The generator F: a multimodal feature from the source text alone (Peng et al. 2022, section 3.2.2)."""

import torch
from torch import Tensor, nn

from ..vision.batch_norm import SyncedBatchNorm


def masked_mean(text: Tensor, padding_mask: Tensor) -> Tensor:
    """Mean of each sentence's vectors over its tokens, padding left out (Peng et al. 2022, equation 5).

    Args:
        text: ``B x I x d``.
        padding_mask: bool ``B x I``, True for padding.

    Returns:
        ``B x d``.
    """
    tokens = (~padding_mask).unsqueeze(-1).to(text)  # B x I x 1
    return (text * tokens).sum(dim=1) / tokens.sum(dim=1).clamp(min=1)


class ConvUnpool(nn.Module):
    """``B x C`` to ``B x P x C``, each region from all channels: a transposed convolution over one position.

    On a single position ``ConvTranspose2d(C, C, grid)`` is a linear map to C·P values, and runs several times
    faster as one.
    """

    def __init__(self, channels: int, regions: int):
        super().__init__()
        self.regions = regions
        self.linear = nn.Linear(channels, regions * channels, bias=False)  # batch norm follows, with a bias

    def forward(self, vector: Tensor) -> Tensor:
        return self.linear(vector).view(len(vector), self.regions, -1)


class DepthwiseUnpool(nn.Module):
    """``B x C`` to ``B x P x C``, each channel spread by a learned profile, which is flat at first."""

    def __init__(self, channels: int, regions: int):
        super().__init__()
        self.profile = nn.Parameter(1 + 0.1 * torch.randn(regions, channels))

    def forward(self, vector: Tensor) -> Tensor:
        return vector.unsqueeze(1) * self.profile


class RepeatUnpool(nn.Module):
    """``B x C`` to ``B x P x C``, all regions equal: the parameter-free inverse of average pooling."""

    def __init__(self, channels: int, regions: int):
        super().__init__()
        self.regions = regions

    def forward(self, vector: Tensor) -> Tensor:
        return vector.unsqueeze(1).expand(-1, self.regions, -1)


NORMS = ("channel", "region")
UNPOOLS: dict[str, type] = {"conv": ConvUnpool, "depthwise": DepthwiseUnpool, "repeat": RepeatUnpool}


class FeatureGenerator(nn.Module):
    """Masked mean of the text, linear to the CNN's channels, unpooled to its grid, batch norm, ReLU.

    Peng et al. 2022, equation 6 and the last row of Table 7. The values have the range of a CNN's last map,
    whose place they take. Hence no ReLU for a CNN whose last map is linear (half of EfficientNet-Lite0's
    values are negative, and a ReLU could not come near them); the paper's CNNs end in one.

    The paper's average unpooling is ``repeat``; the released code learns it, by ``conv``. Batch norm and ReLU
    are the released code's; equation 6 has neither, so their kind is free. By channel, as
    there, the statistics are over sentences and regions: what tells one region from the next is the same for
    every sentence, and stays. Of untrained weights it is 85 % of the variance. By region and channel, they
    are over sentences alone, and what is left is what tells sentences apart.

    Args:
        embed_dim: d, width of the text vectors.
        channels: C, channels of the backbone's last convolutional map.
        regions: P, its positions.
        unpool: ``conv``, ``depthwise`` or ``repeat``.
        signed: leave the ReLU out.
        norm: statistics by ``channel``, or by ``region`` and channel.
    """

    def __init__(
        self,
        embed_dim: int,
        channels: int,
        regions: int,
        unpool: str,
        signed: bool = False,
        norm: str = "channel",
    ):
        super().__init__()
        self.sizes = embed_dim, channels, regions, unpool, signed, norm
        self.activation = nn.Identity() if signed else nn.ReLU()
        self.projection = nn.Linear(embed_dim, channels)
        self.unpool = UNPOOLS[unpool](channels, regions)
        self.by_region = norm == "region"
        self.batch_norm = SyncedBatchNorm(regions * channels if self.by_region else channels)

    def forward(self, text: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            text: embeddings with positions, ``B x I x d``.
            padding_mask: bool ``B x I``, True for padding.

        Returns:
            ``B x P x C``, not negative unless *signed*.
        """
        regions = self.unpool(self.projection(masked_mean(text, padding_mask)))
        if self.by_region:
            return self.activation(self.batch_norm(regions.flatten(1)).view_as(regions))  # B x P*C
        return self.activation(self.batch_norm(regions.transpose(1, 2)).transpose(1, 2))  # B x C x P

    def again(self, text: Tensor, padding_mask: Tensor) -> Tensor:
        """As a call, for text of which it has been called already: running statistics stay as they are."""
        momentum, self.batch_norm.momentum = self.batch_norm.momentum, 0.0
        try:
            return self(text, padding_mask)
        finally:
            self.batch_norm.momentum = momentum


class FrozenGenerator(FeatureGenerator):
    """A generator as the code released with the paper has it: random, never trained, new when decoding.

    There it is no ``nn.Module``: neither the optimizer nor ``eval()`` nor a checkpoint ever reaches it. So
    batch norm always takes the statistics of the batch at hand, and a translation depends on its batch;
    decoding starts from other random weights. This one is for telling what was published with such a
    generator. Its weights are in the checkpoint, for training to go on with; decoding draws others. (The
    released mean counts padding among the words, too, so that it depends on the batch once more.)
    """

    def __init__(self, *sizes, **more):
        super().__init__(*sizes, **more)
        self.requires_grad_(False)

    def train(self, mode: bool = True):
        return super().train()

    def make_generation_fast_(self, **options) -> None:
        """What fairseq's commands and hub call before they decode."""
        self.load_state_dict(FeatureGenerator(*self.sizes).state_dict(), strict=False)  # masks of pruning


GENERATORS: dict[str, type[FeatureGenerator]] = {"trained": FeatureGenerator, "frozen": FrozenGenerator}
