"""The package's version, alone in a module so that packaging and manifests read it without fairseq."""

__version__ = "0.2.0"
