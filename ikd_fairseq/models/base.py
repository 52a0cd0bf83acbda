"""The base of every architecture: fairseq's Transformer with one forward pass, and hooks for additions.

Three kinds of system derive from it: :class:`FlatTransformerModel` itself sees no image,
:class:`AuxiliaryTransformerModel` learns from the images of training sentences, and :class:`ImageMustModel`
looks at images in training and at test.
"""

import copy
from argparse import SUPPRESS, ArgumentError, ArgumentTypeError
from collections.abc import Collection
from contextlib import suppress
from typing import Any, NamedTuple, Optional, Union

from fairseq.models.transformer import TransformerDecoderBase, TransformerEncoderBase, TransformerModelBase
from torch import Tensor, nn

from ..compression.pruning import attach_masks, unpack_weights
from ..constants import AUXILIARY, LOGGED
from ..contracts import AuxiliaryModel, Entry, ModelContract, TaskContract, Term
from ..errors import check
from ..modules.fast_dropout import draw_faster
from ..modules.image_regions import region_channels
from ..modules.multimodal_encoder import MultimodalEncoder
from ..modules.region_bias import RegionBias, regions_of
from ..vision.backbones import get_backbone
from .config import nested_config
from .hub import load_translator


class ForwardPass(NamedTuple):
    """What went through a model: a batch of B sentences with I source and J target positions.

    Attributes:
        src_tokens: int64 ``B x I``.
        prev_output_tokens: int64 ``B x J``, the target shifted right.
        features: real image features, ``K x P x C``, if the model was handed some.
        image_positions: int64 ``K``, the sentence that each image or feature map belongs to.
        encoder_out: the encoder's output.
        decoder_out: what logits are made of, ``B x J x d``.
    """

    src_tokens: Tensor
    prev_output_tokens: Tensor
    features: Optional[Tensor]
    image_positions: Optional[Tensor]
    encoder_out: dict[str, list[Tensor]]
    decoder_out: Tensor


class TextEncoder(TransformerEncoderBase):
    """fairseq's encoder. Images, which it is handed like every encoder of the plugin, it leaves alone."""

    def forward(
        self, src_tokens, src_lengths=None, return_all_hiddens=False, token_embeddings=None, **images
    ):
        return super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)


class WordAttentionDecoder(TransformerDecoderBase):
    """fairseq's decoder, which says of its attention what falls on the words, ``B x J x I``.

    Behind the words an encoder may have P regions that are attended to as well. fairseq's alignments and
    ensembles take every column for a word. What falls on regions is left out: a row may sum to less than 1.

    With the option ``region_bias`` its attentions on words and regions have a
    :class:`~ikd_fairseq.modules.region_bias.RegionBias` each.
    """

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.region_biases = [module for module in self.modules() if isinstance(module, RegionBias)]

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        layer = super().build_decoder_layer(cfg, no_encoder_attn)
        if str(getattr(cfg, "region_bias", "none")) == "learned":
            check(
                not no_encoder_attn,
                "--region-bias learned belongs to an attention that --no-cross-attention leaves out: give "
                "one of the two",
            )
            RegionBias.attach(layer.encoder_attn)
            # PyTorch's DDP waits for the gradient of everything that has one.
            layer.encoder_attn.region_bias.requires_grad_(not cfg.no_text)
        return layer

    def extract_features(self, prev_output_tokens, encoder_out, *args, **kwargs):
        for bias in self.region_biases:
            bias.tell(encoder_out)
        x, extra = super().extract_features(prev_output_tokens, encoder_out, *args, **kwargs)
        words = encoder_out["encoder_out"][0].size(0) - regions_of(encoder_out)  # none with --no-text
        extra["attn"] = [
            attention
            if attention is None
            else attention[..., :words]
            if words
            else attention.new_zeros(*attention.shape[:-1], encoder_out["encoder_embedding"][0].size(1))
            for attention in extra["attn"]
        ]
        return x, extra


def _truth(text: str) -> bool:
    """``True`` or ``False``, as a configuration file has them too."""
    values = {"true": True, "false": False}
    if text.lower() not in values:
        raise ArgumentTypeError(f"give True or False, not {text!r}")
    return values[text.lower()]


class FlatTransformerModel(ModelContract, TransformerModelBase):
    """fairseq's Transformer, built from a flat configuration. Base of every architecture of the plugin.

    Attributes:
        encoder_class: what its encoder is. Like :class:`TextEncoder` it is handed the images of a batch.
        logged: entries of the encoder's output that are means for the log: ``[sum, count]`` each.
    """

    encoder_class: type[TransformerEncoderBase] = TextEncoder
    logged: tuple[str, ...] = ()

    @classmethod
    def add_args(cls, parser) -> None:
        # fairseq would make switches of these, which nothing could turn off where a preset has them on. What
        # is there already it leaves as it is.
        for part in ("encoder", "decoder"):
            with suppress(ArgumentError):  # as fairseq does: a parser may be used again
                parser.add_argument(
                    f"--{part}-normalize-before",
                    nargs="?",
                    const=True,
                    default=SUPPRESS,
                    type=_truth,
                    metavar="BOOL",
                    help=f"layer normalisation first in every block of the {part} (True) or last (False)",
                )
        # TransformerModelBase adds its nested options; the flat dataclass holds them all.
        super(TransformerModelBase, cls).add_args(parser)

    @classmethod
    def from_pretrained(
        cls, model_name_or_path, checkpoint_file="model.pt", data_name_or_path=".", **options
    ):
        """A :class:`~ikd_fairseq.models.hub.Translator`, see there for arguments and errors."""
        return load_translator(model_name_or_path, checkpoint_file, data_name_or_path, **options)

    @classmethod
    def build_model(cls, cfg, task):
        model = super().build_model(nested_config(cfg), task)
        draw_faster(model)
        return model

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return cls.encoder_class(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens):
        return WordAttentionDecoder(cfg, tgt_dict, embed_tokens, no_encoder_attn=cfg.no_cross_attention)

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Tensor,
        prev_output_tokens: Tensor,
        return_all_hiddens: bool = True,
        features_only: bool = False,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        images: Optional[Tensor] = None,
        features: Optional[Tensor] = None,
        image_positions: Optional[Tensor] = None,
        hide_regions: Union[bool, Tensor, None] = None,
        **asked: Any,
    ) -> tuple[Tensor, dict[str, Any]]:
        """
        Args:
            src_tokens: int64 ``B x I``.
            src_lengths: int64 ``B``.
            prev_output_tokens: int64 ``B x J``, the target shifted right.
            return_all_hiddens, features_only, alignment_layer, alignment_heads: as fairseq's.
            images: uint8 ``K x H x W x 3``.
            features: ``K x P x C``, used instead of images.
            image_positions: int64 ``K``, the sentence that each of them belongs to.
            hide_regions: of a model that ``hides_regions``, whether to hide them; None: by its options; bool
                ``B x 1``: by its options, and those of these sentences too.
            asked: what :meth:`extra_outputs` is asked for.

        Returns:
            ``(logits B x J x V, extra)`` as fairseq's decoder, ``B x J x d`` with *features_only*; *extra*
            with what :meth:`extra_outputs` adds, and in ``extra["logged"]`` a
            :class:`~ikd_fairseq.contracts.Term` by name, for the log.
        """
        encoder_out = self.encoder(
            src_tokens,
            src_lengths,
            return_all_hiddens=return_all_hiddens,
            images=images,
            features=features,
            image_positions=image_positions,
            **({} if hide_regions is None else {"hide_regions": hide_regions}),
        )
        decoder_out, extra = self.decoder(
            prev_output_tokens,
            encoder_out=encoder_out,
            features_only=True,
            alignment_layer=alignment_layer,
            alignment_heads=alignment_heads,
            src_lengths=src_lengths,
            return_all_hiddens=return_all_hiddens,
        )
        run = ForwardPass(src_tokens, prev_output_tokens, features, image_positions, encoder_out, decoder_out)
        logged = {name: Term(*encoder_out[name]) for name in self.logged if name in encoder_out}
        output = decoder_out if features_only else self.decoder.output_layer(decoder_out)
        return output, {**extra, LOGGED: logged, **self.extra_outputs(run, **asked)}

    def output_matrix(self) -> Optional[Tensor]:
        projection = self.decoder.output_projection
        plain = self.decoder.adaptive_softmax is None and type(projection) is nn.Linear
        return projection.weight if plain and projection.bias is None else None

    @property
    def hides_regions(self) -> bool:  # type: ignore[override]
        return isinstance(self.encoder, MultimodalEncoder) and not self.encoder.no_text

    def views(self) -> list[ModelContract]:
        """With ``--regions-at-test ensemble`` the model and a twin of the same weights without regions."""
        if not (self.hides_regions and self.encoder.regions_at_test == "ensemble"):
            return [self]
        twin, encoder = copy.copy(self), copy.copy(self.encoder)
        encoder.regions_at_test = "hidden"
        twin._modules = {**self._modules, "encoder": encoder}  # a copy shares the dictionary
        return [self, twin]

    def extra_outputs(self, run: ForwardPass) -> dict[str, Any]:
        """Hook: what goes into the second output. A subclass names what it can be asked for as arguments."""
        return {}

    def upgrade_state_dict(self, state_dict) -> None:
        """Takes in the masks of a pruned checkpoint, packed or not. Training and decoding load it so."""
        unpack_weights(state_dict)
        super().upgrade_state_dict(state_dict)
        attach_masks(self, state_dict)

    def upgrade_state_dict_named(self, state_dict, name) -> None:
        """Lets a model that was built without a part for training load a checkpoint that has it."""
        super().upgrade_state_dict_named(state_dict, name)
        for part, module in self.training_parts().items():
            if module is None:
                prefix = f"{name}.{part}." if name else f"{part}."
                for key in [key for key in state_dict if key.startswith(prefix)]:
                    del state_dict[key]


class BackboneModel(FlatTransformerModel):
    """A Transformer built for the images, or features, of a CNN; its options are a ``BackboneConfig``."""

    def __init__(self, cfg, encoder, decoder):
        super().__init__(cfg, encoder, decoder)
        self.backbone = get_backbone(str(cfg.backbone))
        self.image_size = cfg.image_size
        self.feature_channels = region_channels(cfg)

    @classmethod
    def build_model(cls, cfg, task):
        get_backbone(str(cfg.backbone)).check_image_size(cfg.image_size)
        return super().build_model(cfg, task)


class AuxiliaryTransformerModel(AuxiliaryModel, BackboneModel):
    """Translates from text alone and has further terms of the loss, for the criterion ``auxiliary_losses``.

    The criterion owns the frozen CNN and hands over features, so that the model holds no CNN at any time. A
    subclass sets ``auxiliary_weights`` and says in :meth:`auxiliary_terms` what each term is.
    """

    def auxiliary_terms(self, run: ForwardPass, wanted: Collection[str]) -> dict[str, Entry]:
        """The terms of a batch that are *wanted*, see the contract. K may be 0, and P then anything."""
        raise NotImplementedError

    def extra_outputs(self, run: ForwardPass, auxiliary: Optional[Collection[str]] = None) -> dict[str, Any]:
        """The terms that *auxiliary* names, which features must be given for; nothing for None."""
        return {} if auxiliary is None else {AUXILIARY: self.auxiliary_terms(run, auxiliary)}


class ImageMustModel(BackboneModel):
    """A Transformer whose encoder is an :class:`~ikd_fairseq.modules.image_regions.ImageRegions`.

    A sentence without an image is a text-only one, in training and at test; a batch without any image input
    is translated by the text path alone. The task refuses a split without images unless ``--image-free`` asks
    for that. Its configuration is an :class:`~ikd_fairseq.models.config.ImageMustConfig`.
    """

    requires_images = True

    @classmethod
    def build_model(cls, cfg, task):
        check(
            isinstance(task, TaskContract),
            "an image-must model reads its images through --task multimodal_translation: add that option",
        )
        model = super().build_model(cfg, task)
        if not (task.cfg.image_free or task.cfg.image_features):
            check(
                model.feature_channels == model.backbone.channels,
                f"the model looks at features of {model.feature_channels} channels and not at images: name "
                "them by --image-features, or translate by the text path alone with --image-free",
            )
            model.encoder.load_cnn()  # now, so that weights that do not fit are refused before data are read
        return model
