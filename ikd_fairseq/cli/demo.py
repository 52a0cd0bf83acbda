"""``ikd-demo``: a page in the browser to try a model, and to see what it generates from a sentence."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from ..errors import check, command
from ..serving.text import TOKENIZERS
from .arguments import given, parse

_DESCRIPTION = """\
Serves a page: type a sentence, and see its translations with their scores, the attention of words and
generated regions, what the inverse CNN paints of it, and the nearest real images. What a system lacks for
one of them the page says in its place."""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ikd-demo", description=_DESCRIPTION)
    add = parser.add_argument
    add("checkpoint", metavar="CHECKPOINT", help="of an image-free system; as training left it, to see all")
    data = "data folder of its training, with an image pack for the nearest images (default: no images, and "
    add("--data", metavar="DATA", help=f"{data}the text's facts as ikd-translate finds them)")
    split = "whose images are searched; features of all are made at the start (default: valid)"
    add("--split", metavar="SPLIT", help=split)
    weights = "weights of the frozen CNN that looks at them (default: those of the distillation, or imagenet)"
    add("--teacher-weights", metavar="imagenet|random|FILE", help=weights)
    add("--tokenizer", choices=TOKENIZERS, help="as for ikd-translate")
    add("--image-free", action="store_true", help="translate by the text path of a model that needs images")
    add("--cpu", action="store_true", help="use no GPU (default: one, where there is one)")
    add("--host", default="127.0.0.1", help="address to be found at; 0.0.0.0 for all (default: %(default)s)")
    add("--port", type=int, default=7860, help="0 for a free one (default: %(default)s)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of ``ikd-demo``."""
    args = parse(build_parser(), argv)
    images = given(args, "split", "teacher_weights")
    check(args.data or not images, f"{images}: for images to search, give --data too")
    from ..analysis.output import require

    require("gradio", "matplotlib", who="the page", extra="demo")
    import fairseq  # noqa: F401  the plugin registers before the engine asks for parts of it

    from ..serving.demo.explorer import Explorer
    from ..serving.demo.page import application, listen, serve

    with listen(args.host, args.port) as place:
        explorer = Explorer.open(
            args.checkpoint,
            args.data,
            args.split or "valid",
            args.teacher_weights,
            tokenizer=args.tokenizer,
            image_free=args.image_free,
            cpu=args.cpu,
        )
        serve(application(explorer, Path(args.checkpoint).name), place)
