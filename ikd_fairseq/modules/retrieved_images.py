"""An encoder whose output takes in retrieved images, by attention or as their mean, through a gate."""

import torch
import torch.nn.functional as F
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor, nn

from .image_index import ImageIndex
from .visual_fusion import FusionGate


class RetrievedImageFusion(nn.Module):
    """``h + g * v`` with a gate ``g = sigmoid(U h + W v + b)``, v made of the retrieved images by a subclass.

    A sentence for which no image was found stays as it is.

    Args:
        embed_dim: d, width of the text states.
    """

    def __init__(self, embed_dim: int):
        super().__init__()
        self.gate = FusionGate(embed_dim)

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        """v, ``B x I x d`` or ``B x 1 x d``; arguments as for :meth:`forward`, never all images missing."""
        raise NotImplementedError

    def forward(self, text: Tensor, images: Tensor, missing: Tensor):
        """
        Args:
            text: encoder output h, ``B x I x d``.
            images: vectors of the retrieved images, ``B x m x C``.
            missing: bool ``B x m``, True where there is none.

        Returns:
            ``B x I x d``, and the gate, ``B x I x d``, 0 where no image was found.
        """
        nothing = missing.all(dim=1).view(-1, 1, 1)
        # Attention over no image at all would be NaN, hence over what is there; the gate shuts it out.
        v = self.summary(text, images, missing & ~nothing.squeeze(2)).expand_as(text)
        gate = self.gate(text, v).masked_fill(nothing, 0)
        return text + gate * v, gate


class AttentionFusion(RetrievedImageFusion):
    """v: multi-head attention of each text state over the images (Zhang et al. 2020).

    Args:
        embed_dim: d.
        channels: C.
        heads: attention heads.
        dropout: on what the attention gives.
    """

    def __init__(self, embed_dim: int, channels: int, heads: int, dropout: float):
        super().__init__(embed_dim)
        self.attention = nn.MultiheadAttention(
            embed_dim, heads, kdim=channels, vdim=channels, batch_first=True
        )
        self.dropout = nn.Dropout(dropout)

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        v, _ = self.attention(text, images, images, key_padding_mask=missing, need_weights=False)
        return self.dropout(v)


class MeanFusion(RetrievedImageFusion):
    """v: the mean of the images' vectors, mapped to the text's width (Wu et al. 2021).

    Args:
        embed_dim: d.
        channels: C.
        dropout: on the mapped mean.
    """

    def __init__(self, embed_dim: int, channels: int, dropout: float):
        super().__init__(embed_dim)
        self.projection = nn.Linear(channels, embed_dim)
        self.dropout = nn.Dropout(dropout)

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        there = (~missing).unsqueeze(2).to(images)  # B x m x 1
        mean = (images * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return self.dropout(self.projection(mean))


class RetrievalEncoder(TransformerEncoderBase):
    """fairseq's encoder, whose output takes in the images that the index has for its tokens.

    Args:
        cfg: fairseq's Transformer configuration, with ``retrieved_images``, m.
        dictionary: source dictionary.
        embed_tokens: source embeddings.
        index: where images are looked up.
        fusion: how they are taken in.
    """

    def __init__(self, cfg, dictionary, embed_tokens, index: ImageIndex, fusion: RetrievedImageFusion):
        super().__init__(cfg, dictionary, embed_tokens)
        self.retrieved_images = cfg.retrieved_images
        self.index = index
        self.fusion = fusion

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
        **images,
    ) -> dict[str, list[Tensor]]:
        """fairseq's encoder output, and in ``gate`` the sum of its values without padding, and their number.

        What an ensemble's image-must member is handed as *images* is not looked at.
        """
        out = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        with torch.no_grad():
            rows, missing = self.index.retrieve(src_tokens, self.retrieved_images)
        text = out["encoder_out"][0].transpose(0, 1)  # B x I x d
        found = F.embedding(rows, self.index.vectors).to(text.dtype)  # B x m x C
        text, gate = self.fusion(text, found, missing)
        gated = ~(src_tokens.eq(self.padding_idx) | missing.all(dim=1, keepdim=True))  # B x I
        total = (gate.detach().float() * gated.unsqueeze(2)).sum()
        return {**out, "encoder_out": [text.transpose(0, 1)], "gate": [total, gated.sum() * gate.size(2)]}
