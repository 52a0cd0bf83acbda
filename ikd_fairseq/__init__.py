"""ikd_fairseq: image-free multimodal machine translation as a fairseq plugin."""

__version__ = "0.1.0"
