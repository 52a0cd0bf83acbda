"""How options are declared that fairseq's command line and configuration files set."""

from dataclasses import Field, field
from typing import Any

BACKBONE_WEIGHTS_HELP = (
    "weights of the frozen CNN that reads the images: imagenet, random or a file; not needed with "
    "--image-features"
)

_OWN = "ikd_fairseq"


def option(default: Any, help: str) -> Any:
    """A field of a dataclass, with the text that ``ikd-systems NAME --describe`` shows."""
    return field(default=default, metadata={"help": help, _OWN: True})


def is_own(field: Field[Any]) -> bool:
    """Whether an option is the plugin's and not one of fairseq's that a dataclass inherits."""
    return _OWN in field.metadata
