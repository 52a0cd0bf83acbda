"""The multimodal encoder: text and image regions in one sequence, fused by attention on the text.

Yao & Wan 2020, as Peng et al. 2022 use it (section 3.1, Figure 2). Where the regions come from is what each
system decides, and all in which an image-free model and its image-must upper bound differ.
"""

from itertools import accumulate

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerEncoderBase
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from torch import Tensor, nn

from ..errors import check
from ..vision.backbones import get_backbone
from .image_regions import region_channels
from .multimodal_layer import MultimodalEncoderLayer

REGIONS_AT_TEST = ("shown", "hidden", "ensemble")


class MultimodalEncoder(TransformerEncoderBase):
    """Encodes I tokens and P regions into I+P positions, all of them visible to the decoder.

    With ``no_text`` it encodes the P regions alone, as the paper's Table 5 does: they are queries, keys and
    values, and the text has no way to the decoder but through m. That regions answer too is our reading:
    section 5.2 has them "as the query" alone. In the released code the text embeddings answer, which
    ``text_memory="embedding"`` does here.

    Regions can be hidden from the decoder, all those of a sentence together: under the padding mask of the
    output they are as if they were not there. They are made and encoded in any case, so that distillation
    does not notice. This is outside the paper.

    Args:
        cfg: fairseq's Transformer configuration, with ``no_text`` and ``text_memory``: ``layer`` (keys and
            values are the text positions of each layer's input) or ``embedding`` (the text embeddings in
            every layer, as in the code released with IKD-MMT). ``backbone`` sets C, the channels of a region.
            ``region_dropout``: the share of sentences whose regions are hidden in training;
            ``region_warmup``: updates of training in which those of all sentences are; ``regions_at_test``
            is one of :data:`REGIONS_AT_TEST` (an ensemble is the caller's: both views are shown).
        dictionary: source dictionary.
        embed_tokens: source embeddings.

    Attributes:
        updates: of training so far, None for a model that nobody has told.

    Raises:
        IkdError: ``no_text`` and regions that are to be hidden, or a share that is none.
    """

    updates: int | None = None

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.backbone = get_backbone(str(cfg.backbone))
        self.text_memory = str(cfg.text_memory)
        self.no_text = cfg.no_text
        self.region_dropout, self.region_warmup = cfg.region_dropout, cfg.region_warmup
        self.regions_at_test = str(cfg.regions_at_test)
        check(
            0 <= self.region_dropout < 1,
            f"--region-dropout {self.region_dropout}: give a share from 0 to below 1 (without any regions, a "
            "model is trained as transformer_mmt)",
        )
        check(self.region_warmup >= 0, f"--region-warmup {self.region_warmup}: give 0 updates or more")
        hiding = self.region_dropout or self.region_warmup or self.regions_at_test != "shown"
        check(
            not (self.no_text and hiding),
            "--no-text leaves the decoder nothing but regions, so they cannot be hidden from it: drop "
            "--no-text, or --region-dropout, --region-warmup and --regions-at-test",
        )
        # W_m of equation 1
        self.region_projection = nn.Linear(region_channels(cfg), embed_tokens.embedding_dim)

    def build_encoder_layer(self, cfg):
        layer = MultimodalEncoderLayer(cfg)
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)

    def regions(self, text: Tensor, padding_mask: Tensor, **images) -> tuple[Tensor, Tensor] | None:
        """The multimodal feature m of every sentence: as :meth:`ImageRegions.regions`, of the embeddings."""
        raise NotImplementedError

    def set_num_updates(self, num_updates: int) -> None:
        super().set_num_updates(num_updates)
        self.updates = num_updates

    def hidden(self, padding_mask: Tensor, asked: bool | Tensor | None = None) -> Tensor:
        """Whose regions the decoder is not to see: bool ``B x 1``.

        *padding_mask*, bool ``B x I``, tells the sentences and their device, *asked* is as
        :meth:`forward` has it.
        """
        warms_up = self.updates is not None and self.updates < self.region_warmup
        every = warms_up or (not self.training and self.regions_at_test == "hidden")
        # An int: tracing knows no bool that is no tensor.
        hidden = torch.full_like(padding_mask[:, :1], int(asked if isinstance(asked, bool) else every))
        if isinstance(asked, bool):
            return hidden
        if self.training and self.region_dropout and not warms_up:
            hidden = torch.rand(len(padding_mask), 1, device=padding_mask.device) < self.region_dropout
        return hidden if asked is None else hidden | asked

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor | None = None,
        return_all_hiddens: bool = False,
        token_embeddings: Tensor | None = None,
        hide_regions: bool | Tensor | None = None,
        **images: Tensor | None,
    ) -> dict[str, list[Tensor]]:
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B`` (not used: padding tells).
            return_all_hiddens: also return the input and every layer's output.
            token_embeddings: ``B x I x d`` instead of an embedding lookup.
            hide_regions: whether to hide the regions of all sentences from the decoder; None: by the options;
                bool ``B x 1``: by the options, and those of these sentences too.
            images: what :meth:`regions` takes.

        Returns:
            fairseq's encoder output: ``encoder_out`` ``(I+P) x B x d``, ``encoder_padding_mask`` bool ``B x
            (I+P)`` (True for padding, and for regions that are hidden or that a sentence does not have),
            ``encoder_embedding`` ``B x I x d``, ``encoder_states``, ``src_lengths`` ``B x 1``; and
            ``regions``, m as ``B x P x C``, and ``text``, what it is made of, ``B x I x d``. Without text the
            first two have P positions instead of I+P.
        """
        shows = hide_regions is None or hide_regions is False
        assert shows or not self.no_text, "without text and regions nothing is left"
        text_padding_mask = src_tokens.eq(self.padding_idx)
        text, embedding = self.forward_embedding(src_tokens, token_embeddings)
        text = text.masked_fill(text_padding_mask.unsqueeze(-1), 0)

        x, padding_mask, memory_mask, regions = text, text_padding_mask, text_padding_mask, []
        found = self.regions(text, text_padding_mask, **images)
        if found is not None:
            m, region_mask = found
            x = torch.cat([text, self.dropout_module(self.region_projection(m))], dim=1)
            region_mask = region_mask | self.hidden(text_padding_mask, hide_regions)
            padding_mask = torch.cat([text_padding_mask, region_mask], dim=1)
            regions = [m]
        if self.no_text:
            x, padding_mask = x[:, text.size(1) :], padding_mask[:, text.size(1) :]
            memory_mask = padding_mask

        x = x.transpose(0, 1)  # (I+P) x B x d
        memory = None
        if self.text_memory == "embedding":
            memory, memory_mask = text.transpose(0, 1), text_padding_mask
        states = list(accumulate(self.layers, lambda x, layer: layer(x, memory_mask, memory), initial=x))
        return {
            "encoder_out": [states[-1] if self.layer_norm is None else self.layer_norm(states[-1])],
            "encoder_padding_mask": [padding_mask],
            "encoder_embedding": [embedding],
            "encoder_states": states if return_all_hiddens else [],
            "src_tokens": [],
            "src_lengths": [(~text_padding_mask).sum(dim=1, dtype=torch.int32).reshape(-1, 1)],
            "regions": regions,
            "text": [text],
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
