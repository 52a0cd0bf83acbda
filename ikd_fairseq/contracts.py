"""What task, models and criterions may ask of each other, and the values that they exchange.

A part of the plugin says what it is by deriving from a contract. fairseq's own parts derive from none:
:func:`contract_of` answers for them with the contract's defaults.
"""

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from .constants import IMAGE_INPUTS

Contract = TypeVar("Contract")


class ModelContract:
    """What may be asked of any model.

    Attributes:
        requires_images: whether it looks at the images, or features, of a batch, in training and at test.
        image_size: side in pixels of the images that it was built for; None for any.
        feature_channels: channels of the features that it was built for; None for any.
        feature_regions: regions of the features that it was built for; None for any number.
        training_only: how the names of those parameters begin that decoding lacks. A part ``NAME.`` is None
            in a model that was built with the option ``no_NAME``.
        hides_regions: whether it can be called with ``hide_regions=True``, and then translates as if
            sentences had no regions: its decoder sees the text alone.
    """

    requires_images: bool = False
    image_size: int | None = None
    feature_channels: int | None = None
    feature_regions: int | None = None
    training_only: tuple[str, ...] = ()
    hides_regions: bool = False

    def training_parts(self) -> dict[str, nn.Module | None]:
        """The parts that decoding lacks, by name; None for one that the model was built without."""
        return {name: getattr(self, name) for name in (part.removesuffix(".") for part in self.training_only)}

    def views(self) -> "list[ModelContract]":
        """The models that translate in its place, an ensemble where they are several."""
        return [self]

    def output_matrix(self) -> Tensor | None:
        """What makes logits of the decoder's output, ``V x d``, if logits are that product and no more.

        A criterion then wants ``features_only``, the decoder's output, and never sees the logits. None where
        they are something else.
        """
        return None


class InvertingModel(ModelContract):
    """A model whose student turns its feature of a sentence back into an image.

    Called with ``student_positions`` (int64 ``K``, sentences of the batch, maybe none) and ``student_maps``
    (a granularity, see :mod:`~ikd_fairseq.vision.granularity`) it returns the student's output for those
    sentences in ``extra["student"]``.

    Attributes:
        backbone: the CNN that the student inverts.
        student: the network; None if the model was built without.
    """

    backbone: Any
    student: nn.Module | None

    def rest_student(self) -> None:
        """Says, before training, that nothing will train the student."""
        raise NotImplementedError


class AuxiliaryModel(ModelContract):
    """A model that has terms of the loss beside translation's own.

    Called with ``features`` (real ones, ``K x P x C``), ``image_positions`` and ``auxiliary``, names of some
    of its terms, it returns an :data:`Entry` by name in ``extra["auxiliary"]``: for these, and for others
    that parameters would get no gradient without.

    Attributes:
        backbone: the CNN whose last convolutional map the features are.
        auxiliary_weights: the terms by name, with their default weights.
        trained_alone: the term that stands for the whole loss in training, for now; None for none.
    """

    backbone: Any
    auxiliary_weights: dict[str, float]
    trained_alone: str | None = None


class CriterionContract:
    """What a task may ask of a criterion: which data it wants beside the text.

    Attributes:
        uses_images: whether training it needs the images of sentences, even for a model that needs none.
        image_maps: features that batches are to carry beside the images: their name, and what their manifest
            has to say of them.
        teacher_cache: name of the cache with the teachers' answers that batches are to carry.
        teacher_paths: the teachers' checkpoints, which the cache is held against.
    """

    uses_images: bool = False
    image_maps: tuple[str, dict[str, Any]] | None = None
    teacher_cache: str | None = None
    teacher_paths: Sequence[str] = ()


class TaskContract:
    """What models and criterions may ask of the task.

    Attributes:
        cfg: its options, ``image_free`` and ``image_features`` among them.
        models: what it has built, the model to train last.
    """

    cfg: Any
    models: list[Any]

    def load_teachers(self, paths: Sequence[str]) -> list[Any]:
        """Loads translation models that teach the one in training."""
        raise NotImplementedError


def contract_of(part: Any, contract: type[Contract]) -> Contract:
    """*part*, or what a wrapper of it holds, if that keeps *contract*; else the contract's defaults."""
    while not isinstance(part, contract) and isinstance(getattr(part, "module", None), nn.Module):
        part = part.module
    return part if isinstance(part, contract) else contract()


def output_matrix_of(model: Any) -> Tensor | None:
    """The matrix of :meth:`ModelContract.output_matrix`, where it may be used outside of the forward pass.

    A wrapper for distributed training that looks for unused parameters would take it for one, and one that
    shards parameters (FSDP) has put it away by then.
    """
    wrapper = model
    while isinstance(getattr(wrapper, "module", None), nn.Module):
        if getattr(wrapper, "find_unused_parameters", False) or hasattr(wrapper, "reshard_after_forward"):
            return None
        wrapper = wrapper.module
    return contract_of(model, ModelContract).output_matrix()


def model_to_train(task: Any) -> Any:
    """The model that a criterion of *task* trains; None where the task is not of the plugin."""
    return task.models[-1] if isinstance(task, TaskContract) and task.models else None


def views_of(models: Iterable[Any]) -> list[Any]:
    """What translates and scores in the place of *models*: all of their :meth:`ModelContract.views`."""
    several = [model.views() if isinstance(model, ModelContract) else [model] for model in models]
    return sum(several, [])


def inputs_of(net_input: dict[str, Any], *models: nn.Module) -> dict[str, Any]:
    """What *models* take of a batch: images, or features, only if one of them requires these."""
    if any(contract_of(model, ModelContract).requires_images for model in models):
        return net_input
    return {key: value for key, value in net_input.items() if key not in IMAGE_INPUTS}


# ---------------------------------------------------------------- what decoding lacks


def contract_of_architecture(name: str | None) -> type[ModelContract] | None:
    """What holds of all models of an architecture; None if it is not one of the plugin."""
    from fairseq.models import ARCH_MODEL_REGISTRY  # here, so that fairseq's arrival finds this module whole

    model_class = ARCH_MODEL_REGISTRY.get(name)
    return model_class if model_class is not None and issubclass(model_class, ModelContract) else None


def options_without(training_only: Iterable[str]) -> dict[str, bool]:
    """The options that leave parts out of a model: ``no_student`` for ``student.``."""
    return {f"no_{prefix.removesuffix('.')}": True for prefix in training_only}


def parts_for_training(names: Iterable[str], architecture: str | None) -> tuple[str, ...]:
    """Those of an architecture's parts for training alone that a state dictionary with *names* still has."""
    known = contract_of_architecture(architecture)
    parts = known.training_only if known else ()
    return tuple(part for part in parts if any(name.startswith(part) for name in names))


def decoding_overrides(kept: Iterable[str] = ()) -> dict[str, Any]:
    """What a checkpoint of any architecture is loaded with where it only translates.

    Parts for training alone are left out but for those *kept*.
    """
    from fairseq.models import ARCH_MODEL_REGISTRY

    plugin = [known for known in ARCH_MODEL_REGISTRY.values() if issubclass(known, ModelContract)]
    prefixes = {prefix for architecture in plugin for prefix in architecture.training_only}
    return {**options_without(prefixes), **dict.fromkeys(options_without(kept), False)}


# ---------------------------------------------------------------- terms of a loss


class Term(NamedTuple):
    """A sum, and of how many values: a mean over all batches and workers can be made of it.

    As an auxiliary term it is one of images; those of tokens are the two entries below.

    Where there is nothing to sum, the ``total`` of a term of the loss is a zero that depends on the
    parameters that it trains: they get gradients of zero instead of none, which distributed training needs.

    Attributes:
        total: float32 scalar.
        count: number of images, or of tokens, that it sums over.
    """

    total: Tensor
    count: int | Tensor  # type: ignore[assignment]  # a tuple has a method of that name


class Prediction(NamedTuple):
    """Another prediction of the target. The criterion makes a :class:`Term` of it: its translation loss.

    Attributes:
        logits: ``K x J x V``.
        positions: int64 ``K``, the sentences of the batch that it is for.
    """

    logits: Tensor
    positions: Tensor


class TokenValues(NamedTuple):
    """A value for every target position. The criterion makes a :class:`Term` of it: the sum without padding.

    Attributes:
        values: float32 ``K x J``.
        positions: int64 ``K``, the sentences of the batch that they belong to.
    """

    values: Tensor
    positions: Tensor


Entry = Term | Prediction | TokenValues
