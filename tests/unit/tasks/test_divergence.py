"""A loss or gradient that is not finite ends training in a sentence."""

import pytest
import torch
from fairseq import trainer

from ikd_fairseq.errors import IkdError
from ikd_fairseq.tasks.divergence import check_finite


def test_a_term_that_is_not_finite_is_named_with_its_update():
    check_finite(6, {"loss": torch.tensor(2.5), "kd_irm": 0.0, "ntokens": 12, "many": torch.ones(2)})
    with pytest.raises(IkdError, match=r"diverged in update 7: kd_irm is nan; .*--lr.*checkpoint_last\.pt"):
        check_finite(6, {"loss": torch.tensor(2.5), "kd_irm": torch.tensor(float("nan"))})
    with pytest.raises(IkdError, match="update 8: loss is inf"):
        check_finite(7, {"loss": float("inf")})


def test_gradients_that_are_not_finite_are_told_where_fairseq_looks_for_their_cause():
    check_finite(3, {})
    with pytest.raises(IkdError, match="update 4: its gradients are not finite"):
        with trainer.NanDetector(torch.nn.Linear(1, 1)):
            pass
