"""Predicts an image's vector from a sentence and compares it with others (Elliott & Kádár 2017)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .feature_generator import masked_mean


class ImageVectorPredictor(nn.Module):
    """``tanh(W mean(h))``: the image's vector from the mean of a sentence's encoder states.

    Args:
        embed_dim: d, width of the states.
        channels: C, width of the vector.
    """

    def __init__(self, embed_dim: int, channels: int):
        super().__init__()
        self.projection = nn.Linear(embed_dim, channels)

    def forward(self, states: Tensor, padding_mask: Tensor) -> Tensor:
        """
        Args:
            states: ``K x I x d``.
            padding_mask: bool ``K x I``, True for padding.

        Returns:
            ``K x C``.
        """
        return torch.tanh(self.projection(masked_mean(states, padding_mask)))


def margin_loss(predicted: Tensor, real: Tensor, margin: float) -> Tensor:
    """``max(0, margin - cos(v^, v) + cos(v^, v'))``, for each image v the mean over the batch's others v'.

    Equal rows of *real* are one image, which is no contrast to itself. Without any other image the loss is 0.

    Args:
        predicted: v^, ``K x C``. K may be 0.
        real: v, ``K x C``.
        margin: difference of cosines.

    Returns:
        float32 ``K``.
    """
    predicted, real = predicted.float(), real.float()
    cosines = F.normalize(predicted, dim=1) @ F.normalize(real, dim=1).T  # prediction x image
    hinges = (margin - cosines.diagonal().unsqueeze(1) + cosines).clamp(min=0)
    if not len(real):  # unique() refuses it
        return hinges.sum(dim=1)
    _, image = torch.unique(real, dim=0, return_inverse=True)
    others = (image.unsqueeze(1) != image.unsqueeze(0)).to(hinges)
    return (hinges * others).sum(dim=1) / others.sum(dim=1).clamp(min=1)
