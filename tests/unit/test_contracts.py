"""What parts of the plugin answer, and what holds of fairseq's own, which know of no contract."""

import pytest
from fairseq.criterions.label_smoothed_cross_entropy import LabelSmoothedCrossEntropyCriterion
from fairseq.distributed import ModuleProxyWrapper
from fairseq.models import ARCH_MODEL_REGISTRY
from torch import nn

from ikd_fairseq.constants import FEATURES, IMAGE_POSITIONS, IMAGES
from ikd_fairseq.contracts import (
    CriterionContract,
    ModelContract,
    contract_of,
    contract_of_architecture,
    decoding_overrides,
    inputs_of,
    model_to_train,
    options_without,
    parts_for_training,
)
from ikd_fairseq.models.base import FlatTransformerModel
from tests import toy

NET_INPUT = {"src_tokens": 1, IMAGES: 2, FEATURES: 3, IMAGE_POSITIONS: 4}


class Wrapper(nn.Module):
    """As PyTorch wraps a model for several workers."""

    def __init__(self, module):
        super().__init__()
        self.module = module


def test_fairseqs_own_parts_and_none_have_the_defaults():
    criterion = LabelSmoothedCrossEntropyCriterion(toy.toy_task(), False, 0.1)
    for part in (criterion, None):
        contract = contract_of(part, CriterionContract)
        assert (contract.uses_images, contract.teacher_cache, contract.teacher_paths) == (False, None, ())
    contract = contract_of(nn.Linear(1, 1), ModelContract)
    assert (contract.requires_images, contract.image_size, contract.training_only) == (False, None, ())


def test_a_wrapped_model_answers_for_itself():
    model = toy.ikd_model()
    for wrapped in (model, Wrapper(model), ModuleProxyWrapper(Wrapper(model))):
        assert contract_of(wrapped, ModelContract) is model


def test_images_go_to_models_that_require_them_alone():
    must, free, stock = toy.kept(ModelContract, requires_images=True), toy.ikd_model(), nn.Linear(1, 1)
    for models, sees in (([must], True), ([free, must], True), ([free], False), ([stock, free], False)):
        assert inputs_of(NET_INPUT, *models) == (NET_INPUT if sees else {"src_tokens": 1})


def test_model_to_train_is_the_last_one_of_the_plugins_task():
    assert model_to_train(toy.toy_task(models=["first", "last"])) == "last"
    assert model_to_train(toy.toy_task()) is None and model_to_train(object()) is None


@pytest.mark.parametrize("name", ["ikd_transformer_nano", "imagination_transformer", "gated_fusion_tiny"])
def test_architectures_name_what_only_training_needs(name):
    contract = contract_of_architecture(name)
    assert contract is ARCH_MODEL_REGISTRY[name] and issubclass(contract, FlatTransformerModel)
    parts = {"ikd_transformer_nano": ("student.",), "imagination_transformer": ("imagination.",)}.get(
        name, ()
    )
    assert contract.training_only == parts
    assert decoding_overrides().items() >= options_without(parts).items()
    weights = ["encoder.embed_tokens.weight", *(f"{part}weight" for part in parts)]
    assert parts_for_training(weights, name) == parts and parts_for_training(weights[:1], name) == ()
    kept = decoding_overrides(parts)
    assert not any(kept[option] for option in options_without(parts))
    assert {**kept, **options_without(parts)} == decoding_overrides()


@pytest.mark.parametrize("name", ["transformer", "unheard_of", "", None])
def test_other_architectures_have_no_contract(name):
    assert contract_of_architecture(name) is None
