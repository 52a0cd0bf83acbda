"""Bad inputs of every kind of file that a command reads."""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from PIL import Image

from tests.faults import workbench
from tests.faults.bad_options import bad_options
from tests.faults.judge import BadInput
from tests.faults.spoiling import (
    ARRAYS,
    FLOATS,
    INDEXES,
    PLACES,
    Hostile,
    Spoil,
    checkpoint,
    file_spoils,
    manifest_spoils,
    rewrite,
)
from tests.faults.workbench import DISTIL, EXPORT, PACK, QUICK, ours, train, translate


def _png(width: int, height: int) -> bytes:
    """A picture that claims a size without having its pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


def _saved(image: Image.Image, format: str) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format)
    return stream.getvalue()


def image_files(folder: Path) -> Iterator[BadInput]:
    pictures = {
        "of 60,000 x 60,000 pixels": _png(60000, 60000),
        "of no width": _png(0, 10),
        "a page of HTML": b"<html><body>403 Forbidden</body></html>",
        "a drawing in SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "a JPEG cut in the middle": _saved(Image.new("RGB", (90, 90)), "JPEG")[:500],
    }
    odd = {
        "one pixel": _saved(Image.new("RGB", (1, 1)), "PNG"),
        "a long strip": _saved(Image.new("RGB", (3000, 1)), "PNG"),
        "a JPEG in CMYK": _saved(Image.new("CMYK", (30, 30)), "JPEG"),
        "16 bits a pixel": _saved(Image.new("I;16", (30, 30)), "PNG"),
        "a palette": _saved(Image.new("P", (30, 30)), "GIF"),
        "of one bit": _saved(Image.new("1", (30, 30)), "TIFF"),
    }
    fresh = _fresh_pack
    # Pixels have no checksum that a decoder looks at.
    harmless_bits = ("with a byte more", "without its last byte", "a flipped bit at its end")
    harmless_bits += ("a flipped bit in the middle",)
    for name, spoil in file_spoils().items():
        yield BadInput(
            "image files",
            name,
            lambda w, spoil=spoil: (fresh(w), spoil(w / "images/red.png")),
            PACK,
            "red.png",
            name in harmless_bits,
        )
    for name, data in {**pictures, **odd}.items():
        yield BadInput(
            "image files",
            name,
            lambda w, data=data: (fresh(w), rewrite(w / "images/red.png", data)),
            PACK,
            "red.png",
            name in odd,
        )


def _fresh_pack(folder: Path) -> None:
    """Takes the pack away that the command shall make."""
    for path in folder.glob("data/train.images.*"):
        path.unlink()


def image_lists(folder: Path) -> Iterator[BadInput]:
    lines = (folder / "train.images.txt").read_text().splitlines()

    def with_name(name: str, position: int = 4) -> bytes:
        return ("\n".join([*lines[:position], name, *lines[position + 1 :]]) + "\n").encode()

    bad: dict[str, tuple[bytes, str]] = {
        "a line less": ("\n".join(lines[:-1]).encode() + b"\n", "train.images.txt"),
        "a line more": ("\n".join([*lines, "red.png"]).encode() + b"\n", "train.images.txt"),
        "no name at all": (b"\n" * len(lines), "train.images.txt"),
        "a missing image": (with_name("mauve.png"), "mauve.png"),
        "a name out of the folder": (with_name("../train.de"), "train.de"),
        "an absolute name": (with_name("/etc/hostname"), "/etc/hostname"),
        "a folder's name": (with_name("."), "line 5|images"),
        "a name of 5,000 letters": (with_name("x" * 5000), "xxxx|line 5"),
        "a NUL in a name": (with_name("red\0.png"), "line 5|red"),
        "a name not in UTF-8": (with_name("red.png").replace(b"red", b"r\xe9d", 1), "train.images.txt"),
        "in UTF-16": ("\n".join(lines).encode("utf-16"), "train.images.txt"),
        "two columns": (with_name("0\tred.png"), "red.png|line 5"),
        "a URL": (with_name("https://example.org/red.png"), "example.org"),
    }
    harmless = {
        "CRLF": "\r\n".join(lines).encode() + b"\r\n",
        "a byte order mark": b"\xef\xbb\xbf" + "\n".join(lines).encode() + b"\n",
        "caption numbers": with_name("red.png#3"),
        "no end of line": with_name("red.png", len(lines) - 1).rstrip(b"\n"),
    }
    for name, (data, culprit) in bad.items():
        yield BadInput("lists", name, _rewritten("train.images.txt", data), PACK, culprit)
    for name, data in harmless.items():
        yield BadInput("lists", name, _rewritten("train.images.txt", data), PACK, "", harmless=True)
    for name, spoil in file_spoils().items():
        if name not in ("with a byte more", "without its last byte", "a flipped bit at its end"):
            yield BadInput("lists", name, _at("train.images.txt", spoil), PACK, "train.images.txt|line")


def _rewritten(name: str, data: bytes | str) -> Spoil:
    return lambda w: rewrite(w / name, data)


def _at(name: str, spoil: Spoil) -> Spoil:
    return lambda w: spoil(w / name)


def _arrays(kind: str, name: str, command: tuple[str, str], more: dict[str, Spoil]) -> Iterator[BadInput]:
    for what, spoil in {**file_spoils(), **ARRAYS, **more}.items():
        harmless = what == "of the other byte order" and name == "train.images.npy"  # each has one byte
        spoiling, culprit = _at(f"data/{name}", spoil), name.partition(".npy")[0]
        yield BadInput(kind, f"{name} {what}", spoiling, command, culprit, harmless)


def _manifest(kind: str, folder: Path, name: str, command: tuple[str, str]) -> Iterator[BadInput]:
    path = folder / "data" / name
    for what, spoil in {**file_spoils(), **manifest_spoils(path)}.items():
        harmless = _is_detail(name, what)
        culprit = name.removesuffix(".json")
        yield BadInput(kind, f"{name} {what}", _at(f"data/{name}", spoil), command, culprit, harmless)


# Entries of manifests that say where data come from, or that files of version 0.1 lack.
_DETAILS = {
    "train.images.json": ("list", "folder", "missing_", "sentences_with_image", "images_blocks"),
    "train.features.cnn.json": ("backbone", "weights", "image_size", "blocks", "dtype"),
    "train.teacher.own.json": ("sentences_left_out", "temperature", "covered_mass", "_blocks", "s_sha256"),
}


def _is_detail(name: str, what: str) -> bool:
    """Whether no reader needs what is spoilt; JSON does not mind the end of its last line."""
    entry = re.search("'(.*)'", what)
    return what == "without its last byte" or bool(entry and any(d in entry[1] for d in _DETAILS[name]))


def packs(folder: Path) -> Iterator[BadInput]:
    fused = train("fused", QUICK)
    yield from _arrays("packs and text", "train.images.npy", fused, {})
    yield from _arrays("packs and text", "train.images.index.npy", fused, INDEXES)
    yield from _manifest("packs and text", folder, "train.images.json", fused)
    for name in ("train.en-de.en.idx", "train.en-de.de.idx", "train.en-de.de.bin"):
        for what in ("missing", "empty", "cut in the middle", "random bytes"):
            spoil = file_spoils()[what]
            yield BadInput("packs and text", f"{name} {what}", _at(f"data/{name}", spoil), fused, "train")


def features(folder: Path) -> Iterator[BadInput]:
    featured = train("featured", QUICK)
    yield from _arrays("features", "train.features.cnn.npy", featured, FLOATS)
    yield from _manifest("features", folder, "train.features.cnn.json", featured)


def teacher_caches(folder: Path) -> Iterator[BadInput]:
    taught = train("taught", QUICK)
    for path in sorted((folder / "data").glob("train.teacher.own.*.npy")):
        more = FLOATS if "prob" in path.name else INDEXES
        yield from _arrays("teacher caches", path.name, taught, more)
    yield from _manifest("teacher caches", folder, "train.teacher.own.json", taught)


BEHIND_THE_ARCHIVE = ("with a byte more", "a flipped bit at its end")  # where PyTorch's loader does not look


def _entries(state: object) -> Iterator[str]:
    if isinstance(state, dict):
        yield from (key for key in state if isinstance(key, str))


def image_indexes(folder: Path) -> Iterator[BadInput]:
    for retriever in ("topic", "dense"):
        name = f"image-index.{retriever}.pt"
        command = train(retriever, QUICK)
        for what, spoil in file_spoils().items():
            harmless = what in BEHIND_THE_ARCHIVE
            spoil = _at(f"data/{name}", spoil)
            yield BadInput("image indexes", f"{name} {what}", spoil, command, name, harmless)
        state = torch.load(folder / "data" / name, weights_only=True)
        for key in _entries(state):
            yield from _bad_entry(name, key, state[key], command)
            if isinstance(state[key], dict):
                for inner in _entries(state[key]):
                    yield from _bad_entry(name, inner, state[key][inner], command, key)


def _bad_entry(name: str, key: str, value: object, command, section: str = "") -> Iterator[BadInput]:
    changes: dict[str, Callable[[dict], object]] = {"missing": lambda found: found.pop(key)}
    changes["of another kind"] = lambda found: found.update({key: [{}]})
    if isinstance(value, torch.Tensor):
        if value.dim():
            changes["without its last row"] = lambda found: found.update({key: found[key][:-1].clone()})
        changes["beyond any memory"] = lambda found: found.update(
            {key: torch.zeros(1, dtype=found[key].dtype).expand(1 << 20, 1 << 20)}
        )
        if value.is_floating_point():
            changes["NaN"] = lambda found: found[key].view(-1)[0].fill_(float("nan"))
        else:
            changes["negative"] = lambda found: found[key].view(-1)[0].fill_(-9)
            changes["too large"] = lambda found: found[key].view(-1)[0].fill_(1 << 30)
    for what, change in changes.items():

        def spoil(path, change=change):
            state = torch.load(path, weights_only=True)
            change(state[section] if section else state)
            torch.save(state, path)

        harmless = "source" in (key, section)  # where it comes from
        yield BadInput(
            "image indexes", f"{name} {key!r} {what}", _at(f"data/{name}", spoil), command, name, harmless
        )


def _set(*keys: str, to: object) -> Callable[[dict, Path], None]:
    """Sets an entry of a checkpoint that lies under *keys*, in dictionaries and namespaces."""

    def change(state: dict, folder: Path) -> None:
        inner = state
        for key in keys[:-1]:
            inner = inner[key] if isinstance(inner, dict) else getattr(inner, key)
        value = to.format(w=folder) if isinstance(to, str) else to
        if isinstance(inner, dict):
            inner[keys[-1]] = value
        else:
            setattr(inner, keys[-1], value)

    return change


def _spoil_parameters(how: Callable[[torch.Tensor], object]) -> Callable[[dict, Path], None]:
    def change(state: dict, folder: Path) -> None:
        name = next(n for n, t in state["model"].items() if t.ndim == 2 and t.is_floating_point())
        changed = how(state["model"][name])
        if isinstance(changed, torch.Tensor) and changed is not state["model"][name]:
            state["model"][name] = changed

    return change


CODE = "__import__('os').system('touch {w}/RAN') or [9]"
CHECKPOINTS: dict[str, Callable[[dict, Path], object]] = {
    "a list": lambda state, w: [1, 2],
    "an empty dictionary": lambda state, w: {},
    "only parameters": lambda state, w: state["model"],
    "a pickle that runs a command": lambda state, w: {**state, "extra": Hostile(w / "RAN")},
    "no 'model'": lambda state, w: state.pop("model") and None,
    "a 'model' without parameters": _set("model", to={}),
    "a 'model' of text": _set("model", to={"weight": "text"}),
    "a parameter with a number as its name": lambda state, w: state["model"].update({7: torch.ones(2)}),
    "NaN in a parameter": _spoil_parameters(lambda tensor: tensor.view(-1)[0].fill_(float("nan"))),
    "infinity in a parameter": _spoil_parameters(lambda tensor: tensor.view(-1)[0].fill_(float("inf"))),
    "a parameter of another shape": _spoil_parameters(lambda tensor: tensor[:-1].clone()),
    "a parameter beyond any memory": _spoil_parameters(
        lambda tensor: tensor[:1, :1].expand(1 << 20, 1 << 20)
    ),
    "a complex parameter": _spoil_parameters(lambda tensor: tensor.to(torch.complex64)),
    "a sparse parameter": _spoil_parameters(lambda tensor: tensor.to_sparse()),
    "no 'cfg'": _set("cfg", to=None),
    "a list as 'cfg'": _set("cfg", to=[1]),
    "no 'cfg.model'": lambda state, w: state["cfg"].pop("model") and None,
    "a number as 'cfg.model'": _set("cfg", "model", to=3),
    "a number as 'cfg.task'": _set("cfg", "task", to=3),
    "no history": _set("optimizer_history", to=[]),
    "a history of text": _set("optimizer_history", to=["text"]),
    "updates in words": lambda state, w: state["optimizer_history"][-1].update(num_updates="many"),
    "no extra state": _set("extra_state", to=None),
    "a model that is none of translation": _set(
        "cfg", "model", to={"_name": "wav2vec2", "conv_feature_layers": CODE}
    ),
    "an architecture that runs code": _set("cfg", "model", "arch", to=CODE),
    "adaptive softmax that runs code": _set("cfg", "model", "adaptive_softmax_cutoff", to=CODE),
    "attention that runs code": _set("cfg", "model", "encoder_xformers_att_config", to=CODE),
    "a task that is none of translation": _set("cfg", "task", "_name", to="audio_pretraining"),
    "a negative number of layers": _set("cfg", "model", "encoder_layers", to=-1),
    "a million layers": _set("cfg", "model", "encoder_layers", to=1 << 20),
    "a width in words": _set("cfg", "model", "encoder_embed_dim", to="wide"),
}
# What nothing that reads weights alone must look at.
_FOR_BUILDING = (
    "architecture",
    "softmax",
    "attention",
    "task",
    "layers",
    "width",
    "shape",
    "number as",
    "no 'cfg.model'",
    "none of",
)
_FOR_HISTORY = ("history", "extra state", "updates in words")
CHECKPOINT_COMMANDS = {
    "export": EXPORT,
    "average": ours("average_checkpoints", "{w}/ikd.pt --output {w}/average.pt"),
    "prune": ours("prune", "{w}/ikd.pt {w}/pruned.pt --sparsity 0.4"),
    "cache": ours(
        "cache_teacher", "{w}/data --split valid --teacher-path {w}/ikd.pt --name new --device cpu"
    ),
    "generate": translate("ikd.pt"),
    "restore": train("ikd", f"{QUICK} --restore-file {{w}}/ikd.pt --reset-optimizer"),
}


def checkpoints(folder: Path) -> Iterator[BadInput]:
    for name, command in CHECKPOINT_COMMANDS.items():
        builds = name in ("cache", "generate", "restore")
        for what, spoil in file_spoils().items():
            harmless = what in BEHIND_THE_ARCHIVE
            yield BadInput("checkpoints", what, _at("ikd.pt", spoil), command, "ikd.pt", harmless)
        for what, change in CHECKPOINTS.items():
            unread = _FOR_HISTORY if name == "generate" else _FOR_BUILDING if not builds else ()
            harmless = any(word in what for word in unread) or what == "an architecture that runs code"
            spoil = checkpoint(change)
            yield BadInput("checkpoints", what, _at("ikd.pt", spoil), command, "ikd.pt", harmless)


def _lines(change: Callable[[list[str]], list[str] | bytes]) -> Spoil:
    def spoil(path: Path) -> None:
        changed = change(path.read_text(encoding="utf-8").splitlines())
        rewrite(path, changed if isinstance(changed, bytes) else "\n".join(changed) + "\n")

    return spoil


DICTIONARY: dict[str, Spoil] = {
    "two lines swapped": _lines(lambda lines: [lines[1], lines[0], *lines[2:]]),
    "half of its lines": _lines(lambda lines: lines[: len(lines) // 2]),
    "a line more": _lines(lambda lines: [*lines, "neu 1"]),
    "a word twice": _lines(lambda lines: [*lines[:3], lines[2], *lines[3:]]),
    "a line without a count": _lines(lambda lines: [*lines[:3], "word", *lines[3:]]),
    "a count in words": _lines(lambda lines: [*lines[:3], "word many", *lines[3:]]),
    "a negative count": _lines(lambda lines: [*lines[:3], "word -4", *lines[3:]]),
    "an empty line": _lines(lambda lines: [*lines[:3], "", *lines[3:]]),
    "cut within a line": _lines(lambda lines: "\n".join(lines)[:41].encode()),
    "in Latin-1": _lines(lambda lines: "\n".join([*lines, "grün 3"]).encode("latin-1")),
}


def _both_dictionaries(spoil: Spoil) -> Spoil:
    return lambda w: [spoil(w / f"data/dict.{side}.txt") for side in ("en", "de")]


def dictionaries(folder: Path) -> Iterator[BadInput]:
    readers = {
        "train": train("text", QUICK),
        "generate": translate("text.pt"),
        "index": ours(
            "build_image_index",
            "--data {w}/data --retriever topic --stop-share 0.9 --topics 4 --image-features cnn",
        ),
        "distil": DISTIL,
    }
    for name, command in readers.items():
        for what, spoil in {**file_spoils(), **DICTIONARY}.items():
            # Another order of words is another dictionary only to what was made with the first.
            harmless = name in ("train", "index") and what in ("two lines swapped", "a line more")
            harmless |= what == "without its last byte"  # the end of the last line
            harmless |= what in ("a flipped bit in its header", "a flipped bit in the middle") and name in (
                "train",
                "index",
            )
            yield BadInput("dictionaries", what, _both_dictionaries(spoil), command, "dict", harmless)


def outputs(folder: Path) -> Iterator[BadInput]:
    name = "generate-test.txt"
    lines = (folder / "run" / name).read_text(encoding="utf-8").splitlines()
    first = next(number for number, line in enumerate(lines) if line.startswith("D-"))

    def with_line(line: str) -> list[str]:
        return [*lines[:first], line, *lines[first + 1 :]]

    changes = {
        "a hypothesis less": [*lines[:first], *lines[first + 1 :]],
        "a hypothesis twice": [*lines[:first], lines[first], *lines[first:]],
        "a sentence number beyond the set": with_line("D-3000000000\t-0.5\tein haus"),
        "a negative sentence number": with_line("D--3\t-0.5\tein haus"),
        "a sentence number in words": with_line("D-one\t-0.5\tein haus"),
        "a number of 5,000 digits": with_line(f"D-{'9' * 5000}\t-0.5\tein haus"),
        "a hypothesis without a score": with_line("D-0\tein haus"),
        "a hypothesis without tabs": with_line("D-0 -0.5 ein haus"),
        "no hypothesis": [line for line in lines if not line.startswith(("H-", "D-"))],
        "no references": [line for line in lines if not line.startswith("T-")],
    }
    for what, changed in changes.items():
        data = "\n".join(changed) + "\n"
        yield BadInput("ikd-score", what, _rewritten(f"run/{name}", data), workbench.SCORE, name)
    for what, spoil in file_spoils().items():
        bits = what.startswith("a flipped bit") or what in ("without its last byte", "with a byte more")
        yield BadInput("ikd-score", what, _at(f"run/{name}", spoil), workbench.SCORE, name, bits)
    for what, spoil in {**PLACES, "empty": lambda path: rewrite(path, "")}.items():
        by_file = ours("score", "--hypotheses {w}/test.de --references {w}/test.en")
        yield BadInput("ikd-score", f"hypotheses {what}", _at("test.de", spoil), by_file, "test.de|test.en")
        yield BadInput("ikd-score", f"references {what}", _at("test.en", spoil), by_file, "test.en|test.de")
    shorter = _lines(lambda lines: lines[:-1])
    yield BadInput(
        "ikd-score", "a hypothesis less than references", _at("test.de", shorter), by_file, "test."
    )


def records(folder: Path) -> Iterator[BadInput]:
    for command in (workbench.TABLE, workbench.REPORT, workbench.RECORD_SCORE):
        for what, spoil in file_spoils().items():
            bits = "bit" in what or what == "without its last byte"
            missing = what == "missing" and command is workbench.RECORD_SCORE  # a first step
            yield BadInput("records", what, _at("run/run.json", spoil), command, "run", bits or missing)
        for what in ("no JSON", "a list", "null", "in Latin-1", "nested too deeply", "of format 99"):
            spoil = manifest_spoils(folder / "run" / "run.json")[what]
            yield BadInput("records", what, _at("run/run.json", spoil), command, "run.json")


KINDS: dict[str, Callable[[Path], Iterator[BadInput]]] = {
    "image files": image_files,
    "lists": image_lists,
    "packs and text": packs,
    "features": features,
    "teacher caches": teacher_caches,
    "image indexes": image_indexes,
    "checkpoints": checkpoints,
    "dictionaries": dictionaries,
    "ikd-score": outputs,
    "records": records,
    "options": bad_options,
}


def all_bad_inputs(workbench: Path) -> list[BadInput]:
    """Every bad input, in the order of :data:`KINDS`."""
    return [bad for make in KINDS.values() for bad in make(workbench)]
