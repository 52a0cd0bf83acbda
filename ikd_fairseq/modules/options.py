"""How options are declared that fairseq's command line and configuration files set."""

from dataclasses import field
from typing import Any

BACKBONE_WEIGHTS_HELP = (
    "weights of the frozen CNN that reads the images: imagenet, random or a file; not needed with "
    "--image-features"
)


def option(default: Any, help: str) -> Any:
    """A field of a dataclass, with the text that ``--help`` shows."""
    return field(default=default, metadata={"help": help})
