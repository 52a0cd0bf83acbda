"""Retrieval: the images of other sentences stand in for the one that a sentence does not have.

``--retriever topic`` follows UVR-NMT (Zhang et al. 2020, "Neural Machine Translation with Universal Visual
Representation"). Images are looked up by the sentence's topic words, those of largest tf-idf, and ranked by
how many of them they share. With H the encoder's output and M the vectors of the m images:

- ``H~ = Attention(H, M, M)``, ``g = sigmoid(W H~ + U H)``, output ``H + g * H~``

``--retriever dense`` follows RMMT (Wu et al. 2021, "Good for Misconceived Reasons: An Empirical Revisiting on
the Need for Visual Context in Multimodal Machine Translation"). Images are looked up by inner product in a
space of text and images. With z the mean of the m images' vectors:

- ``v = W_z z``, ``g = sigmoid(W v + U H)``, output ``H + g * v``

No sentence needs an image, in training or at test: only the index that ``ikd-build-image-index`` makes of
training captions and their images.

Deviations of both:

- The vectors are those of this plugin's CNN, averaged over its last map.
- The projections have biases, and the gate has a value for every text position and channel.

As in UVR-NMT, a training sentence is not kept from finding its own image, which then is among the first; a
test sentence has none in the index, so that training and test are not quite alike.

Deviations of ``topic``:

- Words are the dictionary's units: pieces, where BPE splits a word.
- Common words are left out by their frequency, not by a list of stop words.
- Of images with equally many votes the earlier ones are taken.

Deviation of ``dense``: the retriever is a small dual encoder trained on the captions of the index itself,
where RMMT's text encoder is BERT.
"""

import copy
import os
from dataclasses import dataclass, field
from typing import Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.models import register_model
from torch import Tensor

from ..constants import LOGGED
from ..errors import check
from ..modules.image_index import FILE_NAME, KINDS, load_image_index
from ..modules.retrieved_images import AttentionFusion, MeanFusion, RetrievalEncoder
from ..modules.transformer_config import TINY, FlatTransformerConfig, FlatTransformerModel, register_preset


@dataclass
class RetrievalTransformerConfig(FlatTransformerConfig):
    """Options of the retrieval model."""

    retriever: ChoiceEnum(list(KINDS)) = field(
        default="topic",
        metadata={
            "help": "how images are found and taken in: by topic words and attention (UVR-NMT), or by "
            "dense embeddings and mean (RMMT)"
        },
    )
    image_index: Optional[str] = field(
        default=None,
        metadata={
            "help": "file that ikd-build-image-index wrote (default: image-index.RETRIEVER.pt in the "
            "first data folder)"
        },
    )
    retrieved_images: int = field(
        default=5, metadata={"help": "how many images are looked up for a sentence"}
    )


def image_index_path(cfg, task) -> str:
    """The file of the image index: the option's, or the one in the task's data folder.

    Raises:
        IkdError: neither is given.
    """
    if cfg.image_index:
        return cfg.image_index
    data = getattr(task.cfg, "data", None)
    check(bool(data), "retrieval_transformer needs an image index: give --image-index FILE")
    return os.path.join(utils.split_paths(data)[0], FILE_NAME.format(kind=str(cfg.retriever)))


@register_model("retrieval_transformer", dataclass=RetrievalTransformerConfig)
class RetrievalTransformerModel(FlatTransformerModel):
    """The text-only Transformer with retrieved images. Logs the mean of its ``gate`` where some are found."""

    requires_images = False

    @classmethod
    def build_model(cls, cfg, task):
        check(cfg.retrieved_images > 0, f"--retrieved-images {cfg.retrieved_images}: give 1 or more")
        # A copy: the checkpoint records the user's option, so that the model can move to another folder.
        cfg = copy.copy(cfg)
        cfg.image_index = image_index_path(cfg, task)
        return super().build_model(cfg, task)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        index = load_image_index(cfg.image_index, str(cfg.retriever), src_dict)
        sizes = embed_tokens.embedding_dim, index.channels
        if index.kind == "topic":
            fusion = AttentionFusion(*sizes, cfg.encoder.attention_heads, cfg.dropout)
        else:
            fusion = MeanFusion(*sizes, cfg.dropout)
        return RetrievalEncoder(cfg, src_dict, embed_tokens, index, fusion)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        **decoding,
    ):
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            decoding: ``features_only`` and the alignment options of fairseq's decoder.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder, and the gate's values for the log in
            ``extra``.
        """
        encoder_out = self.encoder(src_tokens, src_lengths, return_all_hiddens=return_all_hiddens)
        logits, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
            **decoding,
        )
        extra[LOGGED] = {"gate": tuple(encoder_out["gate"])}
        return logits, extra

    def upgrade_state_dict_named(self, state_dict, name):
        """Refuses, in a sentence, a checkpoint that was trained on an index of another CNN."""
        super().upgrade_state_dict_named(state_dict, name)
        prefix = f"{name}.encoder.fusion" if name else "encoder.fusion"
        for key, parameter in self.encoder.fusion.named_parameters(prefix):
            check(
                key not in state_dict or state_dict[key].shape == parameter.shape,
                f"the image index has vectors of {self.encoder.index.channels} channels, with which the "
                "checkpoint was not trained: name the index of its training with --model-overrides "
                "\"{'image_index': 'FILE'}\"",
            )


register_preset("retrieval_transformer", "retrieval_transformer_tiny", RetrievalTransformerConfig, TINY)
