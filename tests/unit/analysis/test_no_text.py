"""Which checkpoints the rows of the table take, and its picture."""

import pytest

from ikd_fairseq.analysis import no_text
from ikd_fairseq.analysis.features import Trained
from ikd_fairseq.analysis.no_text import RETRAINED, TAKEN_AWAY, WITH_TEXT, draw, load_systems
from ikd_fairseq.analysis.output import Table
from ikd_fairseq.errors import IkdError
from tests import toy

MODELS = {
    "ikd.pt": lambda: toy.ikd_model(),
    "no-text.pt": lambda: toy.ikd_model(no_text=True),
    "embedding.pt": lambda: toy.ikd_model(text_memory="embedding", no_text=True),
    "image-must.pt": lambda: toy.image_must_model(),
}


@pytest.fixture(autouse=True)
def checkpoints(monkeypatch):
    """Models by the name of a file that is not there."""
    monkeypatch.setattr(
        no_text,
        "load_trained",
        lambda name, data, device: Trained(MODELS[name]().eval(), toy.toy_task(), data, "random", device),
    )


def test_the_first_two_rows_share_their_weights_and_the_third_is_another_checkpoint():
    systems = load_systems("ikd.pt", "no-text.pt", "data", "cpu")
    assert [(system.name, system.checkpoint, system.no_text) for system in systems] == [
        (WITH_TEXT, "ikd.pt", False),
        (TAKEN_AWAY, "ikd.pt", True),
        (RETRAINED, "no-text.pt", True),
    ]
    assert systems[0].trained is systems[1].trained
    assert len(load_systems("ikd.pt", None, "data", "cpu")) == 2
    assert load_systems("ikd.pt", "embedding.pt", "data", "cpu")[2].checkpoint == "embedding.pt"


@pytest.mark.parametrize(
    "checkpoint, retrained, sentence",
    [
        ("no-text.pt", None, "--checkpoint no-text.pt was trained with --no-text: .* as --retrained"),
        ("ikd.pt", "ikd.pt", "--retrained ikd.pt was trained with the text"),
        ("image-must.pt", None, "image-must.pt generates no feature from the text"),
        ("ikd.pt", "image-must.pt", "image-must.pt generates no feature from the text"),
    ],
)
def test_checkpoint_that_a_row_is_not_for_is_refused(checkpoint, retrained, sentence):
    with pytest.raises(IkdError, match=sentence):
        load_systems(checkpoint, retrained, "data", "cpu")


def test_bars_show_every_figure_of_the_table():
    pytest.importorskip("matplotlib")
    columns = ["system", "BLEU test", "METEOR test", "BLEU test1", "METEOR test1"]
    table = Table(columns, [(WITH_TEXT, 41.3, 58.9, 33.8, 53.2), (TAKEN_AWAY, 2.0, 9.0, 1.5, 8.0)])
    bleu, meteor = draw(table, ["test", "test1"], ["BLEU", "METEOR"]).axes
    assert [bar.get_height() for bar in bleu.patches] == [41.3, 33.8, 2.0, 1.5]
    assert [bar.get_height() for bar in meteor.patches] == [58.9, 53.2, 9.0, 8.0]
    # A bar stands beside the other system's for the same split.
    assert sorted(bar.get_x() for bar in bleu.patches)[1] == bleu.patches[2].get_x()
