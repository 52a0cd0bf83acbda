"""Small things that several tests build: a dictionary, a task that has one, models of few weights."""

from types import SimpleNamespace

import torch
from fairseq.data import Dictionary

from ikd_fairseq.contracts import TaskContract
from ikd_fairseq.models.config import FlatTransformerConfig
from ikd_fairseq.models.ikd_transformer import IKDTransformerConfig, IKDTransformerModel
from ikd_fairseq.models.multimodal_transformer import ImageMustTransformerConfig, MultimodalTransformerModel
from ikd_fairseq.models.text_baseline import TextTransformerModel

IMAGE_SIZE = 64  # EfficientNet-Lite0's last map is 2 x 2 x 320 there
REGIONS, CHANNELS = 4, 320
SIZES = dict(
    encoder_embed_dim=16,
    encoder_ffn_embed_dim=24,
    encoder_layers=2,
    encoder_attention_heads=2,
    encoder_normalize_before=True,
    decoder_embed_dim=16,
    decoder_ffn_embed_dim=24,
    decoder_layers=1,
    decoder_attention_heads=2,
    decoder_normalize_before=True,
    dropout=0.0,
    share_all_embeddings=True,
    backbone="efficientnet_lite0",
    image_size=IMAGE_SIZE,
)

# How IKD-MMT's own presets leave the paper.
PRESET = dict(region_bias="learned", generator_norm="region", kd_gradient="generator", student_kernels="even")


def dictionary(words: int = 20) -> Dictionary:
    toy = Dictionary()
    for number in range(words):
        toy.add_symbol(f"w{number}")
    return toy


class ToyTask(TaskContract):
    """What models and criterions ask of a task."""

    def __init__(self, models=(), teachers=()):
        self.source_dictionary = self.target_dictionary = dictionary()
        self.cfg = SimpleNamespace(image_free=False, image_features=None, data=None)
        self.models, self.teachers = list(models), list(teachers)

    def load_teachers(self, paths):
        return self.teachers


toy_task = ToyTask


def kept(contract, **attributes):
    """A stand-in that keeps *contract* and has *attributes*."""
    stand_in = contract()
    for name, value in attributes.items():
        setattr(stand_in, name, value)
    return stand_in


TEXT_SIZES = {name: value for name, value in SIZES.items() if name not in ("backbone", "image_size")}


def text_model(seed: int = 1, **options) -> TextTransformerModel:
    torch.manual_seed(seed)
    cfg = FlatTransformerConfig(**{**TEXT_SIZES, **options})
    return TextTransformerModel.build_model(cfg, toy_task())


def ikd_model(**options) -> IKDTransformerModel:
    torch.manual_seed(1)
    return IKDTransformerModel.build_model(
        IKDTransformerConfig(**{**SIZES, "unpool": "depthwise", **options}), toy_task()
    )


def image_must_model(**options) -> MultimodalTransformerModel:
    torch.manual_seed(1)
    cfg = ImageMustTransformerConfig(**{**SIZES, "backbone_weights": "random", **options})
    return MultimodalTransformerModel.build_model(cfg, toy_task())


def tokens(*sentences, left_pad: bool = False) -> torch.Tensor:
    """Sentences of word numbers as a padded batch, end of sentence included: int64 ``B x I``."""
    words = dictionary()
    rows = [[number + words.nspecial for number in sentence] + [words.eos()] for sentence in sentences]
    width = max(map(len, rows))
    pad = [[words.pad()] * (width - len(row)) for row in rows]
    return torch.tensor([p + row if left_pad else row + p for row, p in zip(rows, pad)])


def batch(source: torch.Tensor, target: torch.Tensor, **net_input) -> dict:
    """A batch as fairseq collates it."""
    words = dictionary()
    previous = torch.roll(target, 1, dims=1)
    previous[:, 0] = words.eos()
    return {
        "id": torch.arange(len(source)),
        "nsentences": len(source),
        "ntokens": int(target.ne(words.pad()).sum()),
        "target": target,
        "net_input": {
            "src_tokens": source,
            "src_lengths": source.ne(words.pad()).sum(1),
            "prev_output_tokens": previous,
            **net_input,
        },
    }


def images(count: int, seed: int = 1) -> torch.Tensor:
    """uint8 ``count x H x W x 3``."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, IMAGE_SIZE, IMAGE_SIZE, 3), generator=generator, dtype=torch.uint8)


def trained(model):
    """Moves weights and batch statistics away from their initial values."""
    torch.manual_seed(5)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    for name, value in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            value.add_(torch.rand_like(value))
    return model.eval()
