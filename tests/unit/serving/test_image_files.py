"""Images for sentences that are translated: what a list has to name."""

import pytest

from ikd_fairseq.errors import IkdError
from ikd_fairseq.serving.image_files import ImageFiles


@pytest.mark.parametrize(
    "names, sentence",
    [
        (
            "a.jpg\nb.jpg\n",
            r"1 of the images .* \(b.jpg in line 2\): check --images .*, or empty their lines$",
        ),
        ("\n\n", "names no image: leave out --images and --list"),
    ],
)
def test_a_list_that_names_what_is_not_there_is_refused_with_what_this_command_can_do(
    tmp_path, names, sentence
):
    (tmp_path / "a.jpg").touch()
    (tmp_path / "list.txt").write_text(names)
    with pytest.raises(IkdError, match=sentence):
        ImageFiles(str(tmp_path), str(tmp_path / "list.txt"), 4)
