"""Parts of the models: the generator of multimodal features and the encoder that fuses them with the text."""

from .. import needs_fairseq  # noqa: F401
