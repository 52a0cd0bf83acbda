"""Retrieval: the images of other sentences stand in for the one that a sentence does not have.

``--retriever topic`` follows UVR-NMT (Zhang et al. 2020, "Neural Machine Translation with Universal Visual
Representation"). Images are looked up by the sentence's topic words, those of largest tf-idf, and ranked by
how many of them they share. With H the encoder's output and M the vectors of the m images:

- ``H~ = Attention(H, M, M)``, ``g = sigmoid(W H~ + U H)``, output ``H + g * H~``

``--retriever dense`` follows RMMT (Wu et al. 2021, "Good for Misconceived Reasons: An Empirical Revisiting on
the Need for Visual Context in Multimodal Machine Translation"). Images are looked up by inner product in a
space of text and images. With z_1 to z_m their vectors:

- ``v = max over i of (W_z z_i + b)``, dimension by dimension
- ``g = sigmoid(W v + U H)``, output ``H + g * v``

That is what ``--merge_option max`` of their code does (``rmmt.py``). ``--merge mean`` takes the mean of the
projections, as version 0.1.0 of this plugin did. Neither code drops out anything of images, nor does ours.

No sentence needs an image, in training or at test: only the index that ``ikd-build-image-index`` makes of
training captions and their images.

Deviations of both:

- The vectors are those of this plugin's CNN, averaged over its last map.
- Layer normalisation comes first in every block of ``retrieval_transformer_tiny``. In the code of RMMT it
  comes last, which is ``retrieval_transformer_tiny_postnorm``.

As in UVR-NMT, a training sentence is not kept from finding its own image, which then is among the first; a
test sentence has none in the index, so that training and test are not quite alike.

Deviations of ``topic``:

- Common words are left out by their frequency unless ``ikd-build-image-index --stop-words`` gives a list,
  which the authors' code has (with a list of its own for English).
- A word's images are all of its images; the code draws five at random once and for all.
- Of images with equally many votes the earlier ones are taken.
- The output is the paper's. The code's is ``(1 - g) * H + g * H~``, with one attention head, the same ReLU
  layer on both sides of it, and vectors scaled to unit length.
- As in the code, words are the dictionary's units: pieces, where BPE splits a word.

Deviation of ``dense``: the retriever is a small dual encoder trained on the captions of the index itself,
where RMMT's text encoder is BERT.
"""

import copy
import os
from dataclasses import dataclass
from typing import Optional

import torch
import torch.nn.functional as F
from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor, nn

from ..errors import check
from ..modules.image_index import FILE_NAME, KINDS, ImageIndex, load_image_index
from ..modules.options import option
from ..modules.visual_fusion import FusionGate, gate_for_log
from .base import FlatTransformerModel, TextEncoder
from .config import FlatTransformerConfig
from .presets import register_preset


@dataclass
class RetrievalTransformerConfig(FlatTransformerConfig):
    """Options of the retrieval model."""

    retriever: ChoiceEnum(list(KINDS)) = option(
        "topic",
        "how images are found and taken in: by topic words and attention (UVR-NMT), or by dense embeddings "
        "and maximum (RMMT)",
    )
    merge: ChoiceEnum(["max", "mean"]) = option(
        "max",
        "what dense retrieval makes of the images' projections, dimension by dimension: their maximum "
        "(RMMT), or their mean",
    )
    image_index: Optional[str] = option(
        None,
        "file that ikd-build-image-index wrote (default: image-index.RETRIEVER.pt in the first data folder)",
    )
    retrieved_images: int = option(5, "how many images are looked up for a sentence")


class RetrievedImageFusion(nn.Module):
    """``h + g * v`` with a gate ``g = sigmoid(U h + W v + b)``, v made of the retrieved images by a subclass.

    A sentence for which no image was found stays as it is.

    Args (of subclasses too):
        embed_dim: d, width of the text states.
        channels: C, width of an image's vector.
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
    """v: attention of each text state over the images (Zhang et al. 2020)."""

    def __init__(self, embed_dim: int, channels: int, heads: int):
        super().__init__(embed_dim)
        self.attention = nn.MultiheadAttention(
            embed_dim, heads, kdim=channels, vdim=channels, batch_first=True
        )

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        v, _ = self.attention(text, images, images, key_padding_mask=missing, need_weights=False)
        return v


class MaxFusion(RetrievedImageFusion):
    """v: the largest value that any image's vector, mapped to the text's width, has (Wu et al. 2021)."""

    def __init__(self, embed_dim: int, channels: int):
        super().__init__(embed_dim)
        # Not called as MeanFusion's, so that a checkpoint of that one is told from one of this.
        self.image_projection = nn.Linear(channels, embed_dim)

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        projected = self.image_projection(images).masked_fill(missing.unsqueeze(2), float("-inf"))
        return projected.amax(dim=1, keepdim=True)


class MeanFusion(RetrievedImageFusion):
    """v: the mean of the images' vectors, mapped to the text's width."""

    def __init__(self, embed_dim: int, channels: int):
        super().__init__(embed_dim)
        self.projection = nn.Linear(channels, embed_dim)

    def summary(self, text: Tensor, images: Tensor, missing: Tensor) -> Tensor:
        there = (~missing).unsqueeze(2).to(images)  # B x m x 1
        mean = (images * there).sum(dim=1, keepdim=True) / there.sum(dim=1, keepdim=True).clamp(min=1)
        return self.projection(mean)


class RetrievalEncoder(TextEncoder):
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
        self, src_tokens, src_lengths=None, return_all_hiddens=False, token_embeddings=None, **images
    ) -> dict[str, list[Tensor]]:
        """fairseq's encoder output, and in ``gate`` sum and number of its values without padding."""
        out = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        with torch.no_grad():
            rows, missing = self.index.retrieve(src_tokens, self.retrieved_images)
        text = out["encoder_out"][0].transpose(0, 1)  # B x I x d
        found = F.embedding(rows, self.index.vectors).to(text.dtype)  # B x m x C
        text, gate = self.fusion(text, found, missing)
        gated = ~(src_tokens.eq(self.padding_idx) | missing.all(dim=1, keepdim=True))  # B x I
        return {**out, "encoder_out": [text.transpose(0, 1)], "gate": gate_for_log(gate, gated)}


@register_model("retrieval_transformer", dataclass=RetrievalTransformerConfig)
class RetrievalTransformerModel(FlatTransformerModel):
    """The text-only Transformer with retrieved images. Logs the mean of its ``gate`` where some are found."""

    logged = ("gate",)

    @classmethod
    def build_model(cls, cfg, task):
        check(cfg.retrieved_images > 0, f"--retrieved-images {cfg.retrieved_images}: give 1 or more")
        # A copy: the checkpoint records the user's option, so that the model can move to another folder.
        cfg = copy.copy(cfg)
        if not cfg.image_index:
            check(bool(task.cfg.data), "retrieval_transformer needs an image index: give --image-index FILE")
            name = FILE_NAME.format(kind=str(cfg.retriever))
            cfg.image_index = os.path.join(utils.split_paths(task.cfg.data)[0], name)
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        index = load_image_index(cfg.image_index, str(cfg.retriever), src_dict)
        sizes = embed_tokens.embedding_dim, index.channels
        if index.kind == "topic":
            fusion = AttentionFusion(*sizes, cfg.encoder.attention_heads)
        else:
            fusion = {"max": MaxFusion, "mean": MeanFusion}[str(cfg.merge)](*sizes)
        return RetrievalEncoder(cfg, src_dict, embed_tokens, index, fusion)

    def upgrade_state_dict_named(self, state_dict, name):
        """Refuses, in a sentence, a checkpoint that merges otherwise or learnt on an index of another CNN."""
        super().upgrade_state_dict_named(state_dict, name)
        prefix = f"{name}.encoder.fusion" if name else "encoder.fusion"
        check(
            f"{prefix}.projection.weight" not in state_dict or isinstance(self.encoder.fusion, MeanFusion),
            "the checkpoint takes the mean of retrieved images, as dense retrieval did in version 0.1.0, and "
            "not the maximum: give --merge mean to train on or, when translating, --model-overrides "
            "\"{'merge': 'mean'}\"",
        )
        for key, parameter in self.encoder.fusion.named_parameters(prefix):
            check(
                key not in state_dict or state_dict[key].shape == parameter.shape,
                f"the image index has vectors of {self.encoder.index.channels} channels, with which the "
                "checkpoint was not trained: name the index of its training with --model-overrides "
                "\"{'image_index': 'FILE'}\"",
            )


register_preset("retrieval_transformer", "tiny")
register_preset("retrieval_transformer", "tiny_postnorm")
