"""The multimodal encoder: text and image regions in one sequence, fused by attention on the text.

Yao & Wan 2020, as Peng et al. 2022 use it (section 3.1, Figure 2). Where the regions come from is what each
system decides, and all in which an image-free model and its image-must upper bound differ.
"""

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerEncoderBase
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn

from ..errors import check
from ..vision.backbones import get_backbone
from .multimodal_layer import MultimodalEncoderLayer


class MultimodalEncoder(TransformerEncoderBase):
    """Encodes I tokens and P regions into I+P positions, all of them visible to the decoder.

    With ``no_text`` it encodes the P regions alone, as the paper's Table 5 does: they are queries, keys and
    values, and the text has no way to the decoder but through m. That regions answer too is our reading: the
    paper only says that they are fed alone.

    Args:
        cfg: fairseq's Transformer configuration, with ``no_text`` and ``text_memory``: ``layer`` (keys and
            values are the text positions of each layer's input) or ``embedding`` (the text embeddings in
            every layer, as in the code released with IKD-MMT). ``backbone`` sets C, the channels of a region.
        dictionary: source dictionary.
        embed_tokens: source embeddings.

    Raises:
        IkdError: ``no_text`` with the text embeddings as keys and values.
    """

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.backbone = get_backbone(str(cfg.backbone))
        self.text_memory = str(cfg.text_memory)
        self.no_text = cfg.no_text
        check(
            not (self.no_text and self.text_memory == "embedding"),
            "--no-text hides the text from the encoder and --text-memory embedding lets it attend to nothing "
            "else: give one of the two",
        )
        # W_m of equation 1
        self.region_projection = nn.Linear(self.backbone.channels, embed_tokens.embedding_dim)

    def build_encoder_layer(self, cfg):
        layer = MultimodalEncoderLayer(cfg)
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)

    def regions(self, text: Tensor, padding_mask: Tensor, **images) -> tuple[Tensor, Tensor] | None:
        """The multimodal feature m of every sentence: as :meth:`ImageRegions.regions`, of the embeddings."""
        raise NotImplementedError

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
        **images: Tensor | None,
    ) -> dict[str, list[Tensor]]:
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B`` (not used: padding tells).
            return_all_hiddens: also return the input and every layer's output.
            token_embeddings: ``B x I x d`` instead of an embedding lookup.
            images: what :meth:`regions` takes.

        Returns:
            fairseq's encoder output: ``encoder_out`` ``(I+P) x B x d``, ``encoder_padding_mask`` bool ``B x
            (I+P)`` (True for padding and for regions that a sentence does not have), ``encoder_embedding``
            ``B x I x d``, ``encoder_states``, ``src_lengths`` ``B x 1``; and ``regions``, m as ``B x P x C``.
            Without text the first two have P positions instead of I+P.
        """
        text_padding_mask = src_tokens.eq(self.padding_idx)
        text, embedding = self.forward_embedding(src_tokens, token_embeddings)
        text = text.masked_fill(text_padding_mask.unsqueeze(-1), 0)

        x, padding_mask, memory_mask, regions = text, text_padding_mask, text_padding_mask, []
        found = self.regions(text, text_padding_mask, **images)
        if found is not None:
            m, region_mask = found
            x = torch.cat([text, self.dropout_module(self.region_projection(m))], dim=1)
            padding_mask = torch.cat([text_padding_mask, region_mask], dim=1)
            regions = [m]
        if self.no_text:
            words = text.size(1)
            x, padding_mask = x[:, words:], padding_mask[:, words:]
            memory_mask = padding_mask

        x = x.transpose(0, 1)  # (I+P) x B x d
        memory = text.transpose(0, 1) if self.text_memory == "embedding" else None
        states = [x] if return_all_hiddens else []
        for layer in self.layers:
            x = layer(x, memory_mask, memory)
            if return_all_hiddens:
                states.append(x)
        if self.layer_norm is not None:
            x = self.layer_norm(x)

        return {
            "encoder_out": [x],
            "encoder_padding_mask": [padding_mask],
            "encoder_embedding": [embedding],
            "encoder_states": states,
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [(~text_padding_mask).sum(dim=1, dtype=torch.int32).reshape(-1, 1)],
            "regions": regions,
        }

    def forward_non_torchscript(self, net_input: dict[str, Tensor]) -> dict[str, list[Tensor]]:
        """The encoder output for beam search, which would copy m at every step and only asks for P.

        As a call, but for ``regions``: m without its channels, ``B x P x 0``.
        """
        encoder_out = super().forward_non_torchscript(net_input)
        return {**encoder_out, "regions": [m[..., :0] for m in encoder_out["regions"]]}

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor):
        """Rearranges the sentences, as beam search asks for. *new_order*: int64."""
        reordered = super().reorder_encoder_out(encoder_out, new_order)
        reordered["regions"] = [m.index_select(0, new_order) for m in encoder_out["regions"]]
        return reordered
