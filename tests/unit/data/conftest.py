"""The folder that features are written into."""

import pytest


@pytest.fixture
def data(tmp_path, write_text_split):
    """A data folder with a split of five sentences."""
    write_text_split(tmp_path, "train", 5)
    return str(tmp_path)
