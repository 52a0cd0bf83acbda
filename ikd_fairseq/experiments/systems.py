"""The one registry of systems: what a name stands for in tables, plans and scripts.

A system is an entry of :data:`SYSTEMS`. A variant of one needs none: a plan derives it (``like:`` and
``options:``). Nothing here imports torch or fairseq.
"""

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from ..errors import check

Images = Literal["none", "index", "training", "test"]

BASELINE = "text"
SIZE = "tiny"  # preset of the comparison, see Wu et al. 2021

WHEN = {  # when a system sees images, in words
    "none": "never",
    "index": "those of other sentences, looked up in an index",
    "training": "in training alone",
    "test": "in training and at test",
}


# The protocol of the comparison, that of Wu et al. 2021, which Peng et al. 2022 say they follow. Theirs has
# two GPUs with 4,096 tokens each.
COMMON = {
    "--label-smoothing": "0.1",
    "--optimizer": "adam",
    "--adam-betas": "(0.9, 0.98)",
    "--lr": "0.005",
    "--lr-scheduler": "inverse_sqrt",
    "--warmup-init-lr": "1e-7",
    "--warmup-updates": "2000",
    "--max-tokens": "4096",
    "--update-freq": "2",
    "--max-update": "8000",
    "--patience": "10",
}


@dataclass(frozen=True)
class Published:
    """How a system was trained and decoded where it was published.

    Attributes:
        source: where that stands.
        training: options of ``fairseq-train`` that differ from the common protocol.
        decoding: options of ``fairseq-generate`` that do, beside beam 5.
        beyond: what no option here gives.
    """

    source: str
    training: Mapping[str, str] = field(default_factory=dict)
    decoding: Mapping[str, str] = field(default_factory=dict)
    beyond: str = ""


@dataclass(frozen=True)
class System:
    """One system of the field, or a variant of one."""

    name: str  # what a person types
    title: str  # what tables call it
    architecture: str  # fairseq's ``--arch``, without the size that ends it
    criterion: str = "translation"  # fairseq's ``--criterion``
    options: tuple[str, ...] = ()  # further options of ``fairseq-train`` that make it this system
    images: Images = "none"  # when it sees them, see :data:`WHEN`
    retriever: str | None = None  # of the index that it needs, if any
    published: Published | None = None  # its own protocol, beside the common one
    like: str = ""  # the registered system that it is a variant of; its own name if it is registered itself
    own_options: tuple[str, ...] = ()  # further options of a variant, which win

    @property
    def train_options(self) -> tuple[str, ...]:
        """What ``fairseq-train`` is given, one word each."""
        retriever = ("--retriever", self.retriever) if self.retriever else ()
        named = ("--arch", f"{self.architecture}_{SIZE}", "--criterion", self.criterion)
        return (*named, *retriever, *self.options, *self.own_options)

    def protocol(self, published: bool = False) -> tuple[str, ...]:
        """How ``fairseq-train`` trains it, one word each, to follow :attr:`train_options`.

        Args:
            published: as its authors did, and not by the common protocol.

        Raises:
            IkdError: it has no published protocol.
        """
        options = dict(COMMON)
        if published:
            own = self.published
            check(own is not None, f"{self.name} has no published protocol of its own")
            options |= own.training if own else {}
        return tuple(word for pair in options.items() for word in pair)


def _registry(*systems: System) -> dict[str, System]:
    return {system.name: replace(system, like=system.name) for system in systems}


_WU = "LividWo/Revisit-MMT"
_PENG = {"--lr": "0.004", "--max-tokens": "1024", "--update-freq": "1", "--max-update": "70000"}

# In the order of the tables: image-must systems first.
SYSTEMS: dict[str, System] = _registry(
    System(
        "image-must",
        "Multimodal self-attention (Yao and Wan 2020)",
        "multimodal_transformer",
        images="test",
        published=Published(
            "pengr/IKD-mmt, experiments/en_fr/mmt/train.sh",
            _PENG | {"--max-update": "51000", "--text-memory": "embedding"},
        ),
    ),
    System(
        "gated-fusion",
        "Gated Fusion (Wu et al. 2021)",
        "gated_fusion",
        images="test",
        published=Published(
            f"{_WU}, README-gated.md",
            {"--arch": "gated_fusion_tiny_postnorm"},
            beyond="pooled vectors of a ResNet-50",
        ),
    ),
    System(
        "doubly-attentive",
        "Doubly-attentive decoder (Calixto et al. 2017)",
        "doubly_attentive_transformer",
        images="test",
        published=Published(
            "pengr/IKD-mmt, experiments/en_fr/dfmmt/train.sh", _PENG | {"--combine": "parallel"}
        ),
    ),
    System(
        "selective-attention",
        "Selective attention (Li et al. 2022, ACL)",
        "selective_attention_transformer",
        images="test",
        published=Published(
            "libeineu/fairseq_mmt, train_mmt.sh and translation_mmt.sh",
            {"--arch": "selective_attention_transformer_tiny_postnorm"},
            {"--lenpen": "0.8"},
            beyond="half precision; patches of a vision Transformer: ikd-extract-features --backbone "
            "timm:vit_base_patch16_384",
        ),
    ),
    System(
        BASELINE,
        "Transformer (Vaswani et al. 2017)",
        "transformer_mmt",
        published=Published(f"{_WU}, README-baseline.md", {"--arch": "transformer_mmt_tiny_postnorm"}),
    ),
    System(
        "imagination",
        "Imagination (Elliott and Kádár 2017)",
        "imagination_transformer",
        criterion="auxiliary_losses",
        images="training",
        published=Published(
            "pengr/IKD-mmt, experiments/en_fr/imaginet/train.sh, for the Transformer form",
            _PENG,
            beyond="a recurrent model in the paper: lr 0.0001, batches of 80, a task an update",
        ),
    ),
    System(
        "retrieval-topic",
        "UVR-NMT (Zhang et al. 2020)",
        "retrieval_transformer",
        images="index",
        retriever="topic",
        published=Published(
            "cooelf/UVR-NMT, README.md (English-Romanian), and the paper's dropout",
            {"--arch": "retrieval_transformer_tiny_postnorm", "--lr": "0.0007", "--warmup-updates": "4000"}
            | {"--dropout": "0.15"},
            beyond="a stop list of their own: ikd-build-image-index --stop-words english|FILE",
        ),
    ),
    System(
        "retrieval-dense",
        "RMMT (Wu et al. 2021)",
        "retrieval_transformer",
        images="index",
        retriever="dense",
        published=Published(
            f"{_WU}, README-RMMT.md",
            {"--arch": "retrieval_transformer_tiny_postnorm", "--max-update": "15000"},
            beyond="BERT as the retriever's text encoder",
        ),
    ),
    System(
        "hallucination",
        "Hallucination (after Li et al. 2022, CVPR)",
        "hallucination_transformer",
        criterion="auxiliary_losses",
        images="training",
        published=Published(
            "JerryYLi/valhalla-nmt, scripts/multi30k/train.sh",
            {"--arch": "hallucination_transformer_tiny_postnorm", "--lr": "0.0025", "--max-tokens": "2048"}
            | {"--update-freq": "1", "--max-update": "20000"},
            beyond="tokens of a VQGAN, whose predictor is pretrained",
        ),
    ),
    System(
        "ikd",
        "IKD-MMT (Peng et al. 2022)",
        "ikd_transformer",
        criterion="inversion_distillation",
        images="training",
        published=Published(
            "pengr/IKD-mmt, experiments/en_fr/inverseKD/train_res_m_l2.sh",
            _PENG | {"--arch": "ikd_transformer_tiny_paper"},
            beyond="losses divided by the number of a batch's values; a generator that nothing trains is "
            "--generator frozen",
        ),
    ),
)


def get_system(name: str) -> System:
    """The system of that *name*. Raises :class:`IkdError` where there is none."""
    close = difflib.get_close_matches(name, SYSTEMS, n=1)
    meant = f" (did you mean {close[0]}?)" if close else ""
    check(name in SYSTEMS, f"system {name} is none of: {' '.join(SYSTEMS)}{meant}")
    return SYSTEMS[name]


def derive(name: str, like: str, options: Sequence[str] = (), title: str | None = None) -> System:
    """A variant of the registered system *like*, with further *options*, which win over its own.

    Args:
        title: its name in tables, by default *name*, or what *like* is called where the names are one.

    Raises:
        IkdError: there is no system *like*, or the name is that of another.
    """
    base = get_system(like)
    check(name not in SYSTEMS or name == like, f"{name} is a system already: give the variant another name")
    return replace(
        base,
        name=name,
        title=title or (base.title if name == like else name),
        own_options=(*base.own_options, *options),
    )


def in_order(names: Collection[str], known: Mapping[str, System] = SYSTEMS) -> list[str]:
    """*names* as in *known*, others behind them by name."""
    return [name for name in known if name in names] + sorted(set(names) - known.keys())


def markdown_table() -> str:
    """The table of systems in README.md."""
    lines = ["| system | after | model | sees images |", "|---|---|---|---|"]
    lines += [
        f"| `{system.name}` | {system.title} | `{system.architecture}` | {WHEN[system.images]} |"
        for system in SYSTEMS.values()
    ]
    return "\n".join(lines) + "\n"
