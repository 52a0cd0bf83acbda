"""IKD-MMT written down without a thought for speed, as a user directory of fairseq: what ikd is held against.

Same model, same loss at the same weights (Peng et al. 2022), and none of the ways in which the plugin saves:

- the unpool of the generator is the transposed convolution that the released code has;
- the frozen CNN runs on the real images at every step, in PyTorch's default layout, hooks and all;
- all images of a batch are distilled;
- the loss is fairseq's own over all of the logits, and so is dropout.
"""

import torch
from fairseq.criterions import register_criterion
from fairseq.criterions.label_smoothed_cross_entropy import (
    LabelSmoothedCrossEntropyCriterion,
    LabelSmoothedCrossEntropyCriterionConfig,
)
from fairseq.models import register_model
from fairseq.modules import FairseqDropout
from torch import Tensor, nn

import ikd_fairseq  # noqa: F401  # registers the task, and what is derived from below
from ikd_fairseq.constants import IMAGE_POSITIONS, IMAGES, STUDENT
from ikd_fairseq.contracts import CriterionContract, inputs_of, model_to_train
from ikd_fairseq.models.ikd_transformer import OURS, IKDTransformerConfig, IKDTransformerModel
from ikd_fairseq.models.presets import register_preset
from ikd_fairseq.vision.weights import load_weights


class TransposedConvolution(nn.Module):
    """``B x C`` to ``B x P x C``."""

    def __init__(self, channels: int, side: int):
        super().__init__()
        self.convolution = nn.ConvTranspose2d(channels, channels, side, bias=False)

    def forward(self, vector: Tensor) -> Tensor:
        return self.convolution(vector[:, :, None, None]).flatten(2).transpose(1, 2)


@register_model("naive_ikd", dataclass=IKDTransformerConfig)
class NaiveIKDModel(IKDTransformerModel):
    """The plugin's model with the unpool of the released code."""

    @classmethod
    def build_model(cls, cfg, task):
        model = super().build_model(cfg, task)
        side = model.backbone.grid(model.image_size)
        model.encoder.generator.unpool = TransposedConvolution(model.backbone.channels, side)
        for module in model.modules():
            if isinstance(module, FairseqDropout):
                module.__class__ = FairseqDropout
        return model


register_preset("naive_ikd", "tiny", **OURS)


class LastMap:
    """A frozen CNN's last convolutional map of normalised images. Deliberately no module: it never learns."""

    def __init__(self, backbone):
        self.cnn = load_weights(backbone, "imagenet").requires_grad_(False).eval()
        for name in backbone.head:
            setattr(self.cnn, name, nn.Identity())
        self.cnn.get_submodule(backbone.taps[-1].path).register_forward_hook(self._keep)

    def _keep(self, module, inputs, output) -> None:
        self.map = output.clone()

    def __call__(self, images: Tensor) -> Tensor:
        self.cnn(images.contiguous())
        return self.map


def distance(a: Tensor, b: Tensor) -> Tensor:
    """Root of the mean square difference, the mean over images."""
    return (a - b).square().flatten(1).mean(dim=1).clamp(min=1e-12).sqrt().mean()


@register_criterion("naive_distillation", dataclass=LabelSmoothedCrossEntropyCriterionConfig)
class NaiveDistillation(CriterionContract, LabelSmoothedCrossEntropyCriterion):
    """fairseq's loss, and the distances of maps and images."""

    uses_images = True

    def __init__(self, task, sentence_avg, label_smoothing, ignore_prefix_size=0, report_accuracy=False):
        super().__init__(task, sentence_avg, label_smoothing, ignore_prefix_size, report_accuracy)
        self.backbone = model_to_train(task).backbone
        self.teacher = LastMap(self.backbone)

    def forward(self, model, sample, reduce=True):
        net_input = sample["net_input"]
        positions = net_input[IMAGE_POSITIONS]
        output = model(**inputs_of(net_input, model), student_positions=positions)
        loss, nll_loss = self.compute_loss(model, output, sample, reduce=reduce)
        real, student = self.backbone.normalise(net_input[IMAGES]), output[1][STUDENT]
        with torch.no_grad():
            seen = self.teacher(real)
        inter_modal = distance(seen, student.maps[-1])
        intra_modal = distance(seen, self.teacher(student.image))
        images = distance(real, student.image)
        loss = loss + sample["ntokens"] * (inter_modal + intra_modal + 2 * images)
        log = {
            "loss": loss.data,
            "nll_loss": nll_loss.data,
            "ntokens": sample["ntokens"],
            "nsentences": sample["target"].size(0),
            "sample_size": sample["ntokens"],
        }
        return loss, sample["ntokens"], log
