"""The doubly-attentive decoder in its Transformer forms (Calixto et al. 2017).

Calixto, Liu and Campbell: "Doubly-Attentive Decoder for Multi-modal Neural Machine Translation", ACL 2017. At
every step their decoder attends to the source words and, by a second attention of its own, to the regions of
the last convolutional map of a CNN. What the image gives is weighted by a gating scalar,
``beta = sigmoid(W s + b)`` of the decoder's state s.

Their decoder is a recurrent network, both of whose attentions have the same query. Two Transformer forms:

- ``--combine serial``, the "serial" combination of Libovický, Helcl and Mareček: "Input Combination
  Strategies for Multi-Source Transformer Decoder", WMT 2018. Each decoder layer has a second cross-attention
  of several heads, on the regions, as a sub-layer between the one on the text and the feed-forward network,
  so that its query has seen the text. Here beta, computed from that query, weights what it gives.
- ``--combine parallel``, the form in the code released with Peng et al. 2022, the nearest that there is to
  the doubly-attentive row of their Table 1: both attentions with one query, mixed by a gate.

Deviations:

- Regions are projected to the model's width before all layers, linearly and with the Transformer's dropout;
  Calixto et al. have a tanh there and an image dropout of .5. No encoder runs over the regions.
- The CNN is any of ``--backbone``, at the image size that was packed. The paper's are 14 x 14 regions of
  1,024 channels of a ResNet-50, which ``ikd-extract-features --backbone resnet50 --stage res4f`` makes and
  ``--image-features`` takes.
- A sentence without an image passes the visual sub-layers by; the paper has an image for every sentence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from fairseq.dataclass import ChoiceEnum
from fairseq.distributed import fsdp_wrap
from fairseq.models import register_model
from fairseq.models.transformer import TransformerDecoderBase
from fairseq.modules import LayerNorm
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor, nn

from ..errors import check
from ..modules.image_regions import TextWithImageEncoder
from ..modules.options import option
from ..modules.visual_fusion import FusionGate
from .base import ImageMustModel
from .config import ImageMustConfig
from .presets import register_preset


class RegionMemoryEncoder(TextWithImageEncoder):
    """fairseq's text encoder, beside whose output the regions stand, projected to the width of the text.

    Its output is fairseq's with two entries more, both empty for a batch without regions:
    ``region_memory``, ``P x B x d``, and ``no_image``, bool ``B``.
    """

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        self.region_projection = nn.Linear(self.channels, embed_tokens.embedding_dim)

    def add_image(self, encoder_out: dict[str, list[Tensor]], regions: Tensor, no_image: Tensor) -> None:
        encoder_out["region_memory"] = [self.dropout_module(self.region_projection(regions))]
        encoder_out["no_image"] = [no_image]

    def reorder_encoder_out(self, encoder_out: dict[str, list[Tensor]], new_order: Tensor):
        """Rearranges the sentences, as beam search asks for. *new_order*: int64."""
        reordered = super().reorder_encoder_out(encoder_out, new_order)
        for key, axis in (("region_memory", 1), ("no_image", 0)):
            reordered[key] = [entry.index_select(axis, new_order) for entry in encoder_out.get(key, [])]
        return reordered


class DoublyAttentiveLayer(TransformerDecoderLayerBase):
    """fairseq's decoder layer with an attention more, on the regions; a subclass says how the two combine.

    Sub-layers have dropout, residual and layer normalisation (before or after) as fairseq has them.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        self.image_attn = self.build_encoder_attention(self.embed_dim, cfg)

    def forward(
        self,
        x: Tensor,
        encoder_out: Tensor,
        encoder_padding_mask: Tensor,
        incremental_state: dict[str, dict[str, Tensor | None]] | None = None,
        self_attn_mask: Tensor | None = None,
        self_attn_padding_mask: Tensor | None = None,
        need_attn: bool = False,
        need_head_weights: bool = False,
    ) -> tuple[Tensor, Tensor | None, None]:
        """
        Args:
            x: ``J x B x d``.
            encoder_out: I text positions, then P regions: ``(I+P) x B x d``. P may be 0.
            encoder_padding_mask: bool ``B x (I+1)``: True for padding of the text, and in the last column for
                a sentence without an image. (Plain tensors, one for both: fairseq's decoder hands its layers
                these two, and its activation checkpointing follows gradients through tensors alone.)
            incremental_state: keys and values of the steps before, while decoding.
            self_attn_mask: ``J x J``, minus infinity for the positions to come.
            self_attn_padding_mask: bool ``B x J``, True for padding.
            need_attn, need_head_weights: give the weights of the attention on the text, also of each head.

        Returns:
            ``J x B x d``, the weights or None, and None (fairseq's place for a state to export).
        """
        text_mask, no_image = encoder_padding_mask[:, :-1], encoder_padding_mask[:, -1]
        text, regions = encoder_out.split([text_mask.size(1), len(encoder_out) - text_mask.size(1)])
        wanted = need_attn or need_head_weights or (not self.training and self.need_attn)
        seen: list[Tensor | None] = []  # weights of the attention on the text

        def attend(attention: nn.Module, query: Tensor, memory: Tensor, mask: Tensor | None, **options):
            options = {"need_weights": False, "incremental_state": incremental_state, **options}
            return attention(query, memory, memory, key_padding_mask=mask, **options)

        def on_itself(query: Tensor) -> Tensor:
            return attend(self.self_attn, query, query, self_attn_padding_mask, attn_mask=self_attn_mask)[0]

        def on_text(query: Tensor) -> Tensor:
            options = {"need_weights": wanted, "need_head_weights": need_head_weights, "static_kv": True}
            result, weights = attend(self.encoder_attn, query, text, text_mask, **options)
            seen.append(weights)
            return result

        def on_regions(query: Tensor) -> Tensor:
            # No mask: a sentence has all of its regions or none, and masking all would divide zero by zero.
            return attend(self.image_attn, query, regions, None, static_kv=True)[0]

        x = self._sub_layer(x, self.self_attn_layer_norm, on_itself)
        x = self.attend_to_both(x, on_text, on_regions if len(regions) else None, no_image.view(1, -1, 1))
        x = self._sub_layer(x, self.final_layer_norm, self._feed_forward)
        return x, seen[0], None

    def attend_to_both(
        self,
        x: Tensor,
        on_text: Callable[[Tensor], Tensor],
        on_regions: Callable[[Tensor], Tensor] | None,
        no_image: Tensor,
    ) -> Tensor:
        """
        Args:
            x: ``J x B x d``.
            on_text, on_regions: what an attention gives for a query of that shape; None without regions.
            no_image: bool ``1 x B x 1``, True for a sentence without an image, which attends to text alone.

        Returns:
            As x.
        """
        raise NotImplementedError

    def _feed_forward(self, query: Tensor) -> Tensor:
        return self.fc2(self.activation_dropout_module(self.activation_fn(self.fc1(query))))

    def _sub_layer(self, x: Tensor, norm: nn.Module, function: Callable[[Tensor], Tensor]) -> Tensor:
        return self._residual(x, norm, lambda query: self.dropout_module(function(query)))

    def _residual(self, x: Tensor, norm: nn.Module, function: Callable[[Tensor], Tensor]) -> Tensor:
        y = self.residual_connection(function(norm(x) if self.normalize_before else x), x)
        return y if self.normalize_before else norm(y)


class SerialLayer(DoublyAttentiveLayer):
    """Attention on the text, then one on the regions, as sub-layers of their own: Libovický et al. 2018.

    What the regions give is multiplied by the gating scalar of Calixto et al. 2017, ``beta = sigmoid(w x +
    b)`` of the sub-layer's query x. A sentence without an image passes the sub-layer by.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        self.image_attn_layer_norm = LayerNorm(self.embed_dim, export=cfg.export)
        self.image_gate = nn.Linear(self.embed_dim, 1)

    def attend_to_both(self, x, on_text, on_regions, no_image):
        x = self._sub_layer(x, self.encoder_attn_layer_norm, on_text)
        if on_regions is None:
            return x

        def gated(query: Tensor) -> Tensor:
            return torch.sigmoid(self.image_gate(query)) * on_regions(query)

        return torch.where(no_image, x, self._sub_layer(x, self.image_attn_layer_norm, gated))


class ParallelLayer(DoublyAttentiveLayer):
    """One sub-layer of two attentions with one query, mixed by a gate: the code released with IKD-MMT.

    ``(1 - g) x1 + g x2`` with ``g = sigmoid(W [x1 ; x2] + b)``, x1 being what the text gives and x2 what the
    regions give, each after dropout (``transformer_dfmmt_layer.py``). A sentence without an image has x1.
    """

    def __init__(self, cfg):
        super().__init__(cfg)
        self.gate = FusionGate(self.embed_dim)

    def attend_to_both(self, x, on_text, on_regions, no_image):
        def both(query: Tensor) -> Tensor:
            of_text = self.dropout_module(on_text(query))
            if on_regions is None:
                return of_text
            of_image = self.dropout_module(on_regions(query))
            gate = self.gate(of_text, of_image)
            return torch.where(no_image, of_text, (1 - gate) * of_text + gate * of_image)

        return self._residual(x, self.encoder_attn_layer_norm, both)


LAYERS = {"serial": SerialLayer, "parallel": ParallelLayer}


class DoublyAttentiveDecoder(TransformerDecoderBase):
    """fairseq's decoder of :class:`DoublyAttentiveLayer`, for the output of :class:`RegionMemoryEncoder`."""

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        layer = LAYERS[str(cfg.combine)](cfg)
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)

    def extract_features(
        self, prev_output_tokens: Tensor, encoder_out: dict[str, list[Tensor]], *args, **kwargs
    ):
        """As fairseq's: hands text and regions to the layers as the two tensors that they take."""
        (text,), (text_mask,) = encoder_out["encoder_out"], encoder_out["encoder_padding_mask"]
        no_image = encoder_out.get("no_image") or [text_mask.new_ones(len(text_mask))]
        both = {
            "encoder_out": [torch.cat([text, *encoder_out.get("region_memory", [])])],
            "encoder_padding_mask": [torch.cat([text_mask, no_image[0].unsqueeze(1)], dim=1)],
        }
        return super().extract_features(prev_output_tokens, both, *args, **kwargs)


@dataclass
class DoublyAttentiveConfig(ImageMustConfig):
    """Options of the doubly-attentive decoder."""

    combine: ChoiceEnum(list(LAYERS)) = option(
        "serial",
        "how a decoder layer attends to text and regions: to one after the other (Libovický et al. 2018), or "
        "to both at once, with a gate (code released with IKD-MMT)",
    )


@register_model("doubly_attentive_transformer", dataclass=DoublyAttentiveConfig)
class DoublyAttentiveModel(ImageMustModel):
    """fairseq's Transformer whose decoder layers attend to the text and to the image's regions."""

    encoder_class = RegionMemoryEncoder

    @classmethod
    def build_model(cls, cfg, task):
        for name in ("no_cross_attention", "cross_self_attention"):
            check(
                not getattr(cfg, name),
                f"--{name.replace('_', '-')} leaves out an attention that doubly_attentive_transformer is "
                "made of: drop that option",
            )
        return super().build_model(cfg, task)

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens):
        return DoublyAttentiveDecoder(cfg, tgt_dict, embed_tokens)


register_preset("doubly_attentive_transformer", "tiny")
