"""Translation loss plus inversion knowledge distillation (Peng et al. 2022, sections 3.2.3 and 3.3)."""

from dataclasses import dataclass
from typing import Optional

import torch
from fairseq.criterions import register_criterion
from fairseq.dataclass import ChoiceEnum
from torch import Tensor

from ..constants import FEATURES, IMAGE_POSITIONS, IMAGES, STUDENT
from ..contracts import InvertingModel, model_to_train
from ..errors import check
from ..modules.feature_distance import DISTANCES, distance
from ..modules.options import option
from ..vision.frozen_cnn import UnregisteredCNN
from ..vision.granularity import GRANULARITIES
from ..vision.inverse_cnn import InverseOutput
from .translation_criterion import TranslationCriterion, TranslationCriterionConfig, log_mean

TERMS = ("irm", "iam", "image")


@dataclass
class InversionDistillationConfig(TranslationCriterionConfig):
    """The translation loss's options, and the distillation. Backbone and image size are the model's."""

    teacher_weights: str = option("imagenet", "weights of the frozen teacher CNN: imagenet, random or a file")
    teacher_features: Optional[str] = option(
        None,
        "read the teacher's maps of the real images from SPLIT.features.NAME.npy, by NAME, instead of making "
        "them at every step: ikd-extract-features writes them, rounded to half precision",
    )
    granularity: ChoiceEnum(list(GRANULARITIES)) = option(
        "model",
        "maps that are compared: the last convolutional one (model), that of every stage (block), or that of "
        "every convolution and pooling (layer); the image in any case",
    )
    distance: ChoiceEnum(list(DISTANCES)) = option("l2", "distance of two maps or images")
    irm_weight: float = option(
        1.0, "weight of the inter-modal term: teacher's maps of the real image against the student's"
    )
    iam_weight: float = option(
        1.0, "weight of the intra-modal term: teacher's maps of the real against the inverse image"
    )
    image_weight: float = option(
        2.0, "weight of the distance of real and inverse image (the paper's two losses have it once each)"
    )
    kd_weight: float = option(1.0, "weight of the distillation as a whole")
    kd_images_per_batch: int = option(
        0, "distil so many images of a batch, drawn at random (in validation the first ones); 0: all"
    )


@register_criterion("inversion_distillation", dataclass=InversionDistillationConfig)
class InversionDistillationCriterion(TranslationCriterion):
    """``CE + kd_weight * (irm_weight * IrM + iam_weight * IaM + image_weight * image)`` (equations 7 to 9).

    With T the teacher, S the student, Ir a real and Is its inverse image, D a distance:

    - ``IrM``: sum over the compared maps of D(T_l(Ir), S_l+1), the student's map of the same shape
    - ``IaM``: sum over the compared maps of D(T_l(Ir), T_l(Is))
    - ``image``: D(Ir, Is)

    each the mean over the batch's images. (Equations 7 to 10 have plain norms, which grow with the maps; the
    released code divides them by the number of a batch's values, a millionth of the translation loss.)
    fairseq sums the cross-entropy over tokens and divides the gradient by their number, so the mean is
    multiplied by that number: a weight means the same at any batch size and for any share of sentences with
    images. Over several workers, tokens and images are counted together, so that all images of their batches
    weigh alike. (With ``--update-freq``, the batches that follow each other are weighted by tokens.)

    What a weight of 0 makes unnecessary is not computed: the teacher is not even loaded unless IrM or IaM
    counts. Where a term does, the student runs, for the same parameters to get a gradient in every worker;
    where none does, it never runs, and the model is told that it rests.

    The teacher is no part of this module (see :class:`UnregisteredCNN`).

    Raises:
        IkdError: the model is not an IKD architecture, a weight of a term is negative or no number, or the
            teacher's weights cannot be used.
    """

    def __init__(self, cfg: InversionDistillationConfig, task):
        super().__init__(cfg, task)
        self.distance = str(cfg.distance)
        for name in ("kd_weight", "irm_weight", "iam_weight", "image_weight"):
            weight = getattr(cfg, name)
            fits = 0 <= weight < float("inf")
            check(fits, f"--{name.replace('_', '-')} {weight}: give a number of 0 or more")
        weights = (cfg.irm_weight, cfg.iam_weight, cfg.image_weight)
        self.weights = {term: cfg.kd_weight * weight for term, weight in zip(TERMS, weights)}
        self.images_per_batch = cfg.kd_images_per_batch
        self.uses_images = any(self.weights.values())
        model = model_to_train(task)
        check(
            isinstance(model, InvertingModel) and model.student is not None,
            "--criterion inversion_distillation trains ikd_transformer architectures (with their student) on "
            f"--task multimodal_translation, not {type(model).__name__}; use --criterion translation "
            "instead",
        )
        check(
            not (self.uses_images and task.cfg.image_features),
            "--criterion inversion_distillation learns from the images themselves: drop --image-features",
        )
        check(
            self.images_per_batch >= 0,
            f"--kd-images-per-batch {self.images_per_batch}: give 0 (all) or more",
        )
        self.backbone = model.backbone
        if cfg.teacher_features and (self.weights["irm"] or self.weights["iam"]):
            check(
                str(cfg.granularity) == "model",
                f"--teacher-features {cfg.teacher_features} holds last maps alone, and --granularity "
                f"{cfg.granularity} compares others too: drop one of the two",
            )
            made_by = {"backbone": model.backbone.name, "stage": None, "weights": cfg.teacher_weights}
            self.image_maps = cfg.teacher_features, {**made_by, "image_size": model.image_size}
        self.teacher: Optional[UnregisteredCNN] = None
        if self.weights["iam"] or (self.weights["irm"] and self.image_maps is None):
            self.teacher = UnregisteredCNN(model.backbone, cfg.teacher_weights, str(cfg.granularity))
        self.student_maps = str(cfg.granularity) if self.weights["irm"] else "model"
        if not self.uses_images:
            model.rest_student()

    def forward(self, model, sample, reduce=True):
        """Loss of a batch, as fairseq's criterions: (loss, sample size, values to log)."""
        net_input = sample["net_input"]
        images, positions, maps = self._choose_images(net_input)
        net_output = self.run(model, net_input, student_positions=positions, student_maps=self.student_maps)
        loss, logging_output = self.translation(model, net_output, sample, reduce)
        sample_size = logging_output["sample_size"]
        if reduce and self.uses_images:
            terms = self.distillation_terms(images, net_output[1][STUDENT], maps)
            weighted = sum(self.weights[term] * values for term, values in terms.items())
            # The mean over this worker's images, times all tokens and its share of the images: one worker's
            # is multiplied by the number of its tokens.
            here = len(net_input.get(IMAGE_POSITIONS, ()))
            tokens, everywhere = self.over_workers(sample, sample_size, here)
            scale = (tokens * here / everywhere.clamp(min=1)).to(loss.dtype)
            loss = loss + scale * (weighted.sum() / max(len(positions), 1))
            logging_output["kd_images"] = len(positions)
            for term in TERMS:
                logging_output[f"kd_{term}"] = terms[term].data.sum() if term in terms else 0.0
        logging_output["loss"] = loss.data
        return loss, sample_size, logging_output

    def distillation_terms(
        self, images: Tensor, student: InverseOutput, maps: Optional[Tensor] = None
    ) -> dict[str, Tensor]:
        """The terms of non-zero weight, each with one value an image.

        Args:
            images: uint8 ``K x H x W x 3``.
            student: what the student makes of the K sentences.
            maps: the teacher's last map of each image, ``K x P x C``; made here if None.

        Returns:
            ``K`` values by term.
        """
        wanted = [term for term in TERMS if self.weights[term]]
        # Zero, and yet a function of the whole student: its parameters get zero gradients instead of none,
        # and on every worker the backward pass meets the same reductions over workers.
        nothing = 0 * student.image.float().flatten(1).sum(dim=1)
        if not len(images):
            return {term: nothing for term in wanted}
        real = self.backbone.normalise(images)  # stays float32: what the student paints is held against it
        terms = {}
        seen: list[Tensor] = []
        if maps is not None:
            seen = [maps.to(student.image.dtype).transpose(1, 2).view_as(student.maps[-1])]
        elif self.teacher is not None:
            with torch.no_grad():
                seen = self.teacher(real.to(student.image.dtype))
        if "irm" in wanted:
            terms["irm"] = nothing + self._sum_over_maps(seen, student.maps)
        if "iam" in wanted:
            terms["iam"] = self._sum_over_maps(seen, self.teacher(student.image))
        if "image" in wanted:
            terms["image"] = distance(self.distance, real, student.image)
        return terms

    def _sum_over_maps(self, maps: list[Tensor], others: list[Tensor]) -> Tensor:
        assert len(maps) == len(others), f"{self.backbone.name}: {len(maps)} maps against {len(others)}"
        return sum(distance(self.distance, a, b) for a, b in zip(maps, others))

    def _choose_images(self, net_input) -> tuple[Optional[Tensor], Optional[Tensor], Optional[Tensor]]:
        """The images to distil, uint8 ``K' x H x W x 3``, the sentences that they belong to, ``K'``, and the
        teacher's maps of them, ``K' x P x C``, if batches carry some.

        None throughout where nothing is distilled.
        """
        if not self.uses_images:
            return None, None, None
        tokens = net_input["src_tokens"]
        if IMAGES not in net_input:
            return tokens.new_empty((0, 1, 1, 3), dtype=torch.uint8), tokens.new_empty((0,)), None
        images, positions = net_input[IMAGES], net_input[IMAGE_POSITIONS]
        maps = net_input[FEATURES] if self.image_maps else None
        if 0 < self.images_per_batch < len(positions):
            # fairseq seeds torch's generator anew for every update, so a resumed run draws the same images.
            order = torch.randperm(len(positions)) if self.training else torch.arange(len(positions))
            chosen = order[: self.images_per_batch].to(positions.device, non_blocking=True)
            images, positions = images[chosen], positions[chosen]
            maps = maps if maps is None else maps[chosen]
        return images, positions, maps

    @classmethod
    def reduce_metrics(cls, logging_outputs) -> None:
        """Logs the translation loss as fairseq does, and each distillation term as its mean over images."""
        super().reduce_metrics(logging_outputs)
        for term in TERMS:
            log_mean(f"kd_{term}", logging_outputs, f"kd_{term}", "kd_images")
