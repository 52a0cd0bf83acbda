"""Which features a checkpoint is shown: those that it was trained on, unless an option names others."""

from types import SimpleNamespace

import pytest

import ikd_fairseq.models  # noqa: F401  registers what checkpoints name
from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.feature_shape import TrainedOn, look_with

MUST, FREE = "gated_fusion_tiny", "imagination_transformer_tiny"


def shown(*checkpoints, named=None, image_free=False):
    """The features of a task that loads *checkpoints*, pairs of an architecture and its features."""
    task = SimpleNamespace(image_features=named, image_free=image_free)
    trained_on = TrainedOn(task)
    for number, (architecture, features) in enumerate(checkpoints):
        trained_on.found = f"{number}.pt", features
        trained_on.apply(SimpleNamespace(_name=architecture))
    return task.image_features


def test_what_looks_at_images_is_shown_what_it_was_trained_on():
    assert shown((MUST, "vit")) == "vit"
    assert shown((MUST, None)) is None
    assert shown((MUST, "vit"), named="mine") == "mine"
    assert shown((MUST, "vit"), image_free=True) is None


def test_what_looks_at_none_has_no_say_wherever_it_stands():
    assert shown((FREE, "vit")) is None
    assert shown((FREE, "vit"), (MUST, None)) is None
    assert shown((FREE, None), ("transformer", None), (MUST, "vit"), (MUST, "vit")) == "vit"


@pytest.mark.parametrize(
    ("first", "second", "looks"), [("vit", None, "vit, 1.pt at images"), (None, "vit", "images, 1.pt at vit")]
)
def test_an_ensemble_looks_at_one_thing(first, second, looks):
    with pytest.raises(IkdError, match=f"0.pt looks at {looks}: use them one by one"):
        shown((MUST, first), (MUST, second))
    assert shown((MUST, first), (MUST, second), named="mine") == "mine"


def test_batches_hold_what_teachers_look_at_but_a_student_names_its_own():
    teachers, task = SimpleNamespace(image_features="vit"), SimpleNamespace(image_features=None)
    with pytest.raises(IkdError, match="look at the features vit: name them by --image-features"):
        look_with(teachers, task, learns=True)
    look_with(teachers, task, learns=False)
    assert task.image_features == "vit"
    look_with(teachers, task, learns=True)
