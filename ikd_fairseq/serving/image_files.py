"""The images of the sentences that a command is given."""

from typing import Any

from ..data.image_packing import find_images, read_image_list
from ..data.image_transforms import decode_image
from ..errors import check


class ImageFiles:
    """The images of sentences, decoded when they are asked for.

    Args:
        folder: of the images.
        list_path: has the name of an image in it for every sentence, or an empty line.
        size: side in pixels that the model takes; None if it takes no images.

    Raises:
        IkdError: the model takes no images, the list cannot be read, or an image is missing.
    """

    def __init__(self, folder: str, list_path: str, size: int | None):
        check(
            size is not None, "--images: this model translates without images; leave out --images and --list"
        )
        self.list_path, self.size = list_path, size
        names = read_image_list(list_path)
        check(any(names), f"--list {list_path} names no image: leave out --images and --list")
        self.sources = find_images(names, list_path, folder, False, "empty their lines")

    def of_sentences(self, first: int, count: int) -> list[Any]:
        """Of the sentences from *first*, counted from 1: uint8 ``size x size x 3``, None for no image."""
        self.check_count(first + count - 1, at_least=True)
        rows = self.sources.index[first - 1 : first - 1 + count]
        return [None if row < 0 else decode_image(self.sources.paths[row], self.size) for row in rows]

    def check_count(self, sentences: int, at_least: bool = False) -> None:
        """Refuses a list of another length than there are *sentences*, or of a smaller one."""
        names = len(self.sources.index)
        fits = names >= sentences if at_least else names == sentences
        check(
            fits,
            f"--list {self.list_path} has {names:,} lines, and the text {sentences:,} or more: give one each",
        )
