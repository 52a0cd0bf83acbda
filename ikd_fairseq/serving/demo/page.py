"""The page in a browser, by gradio: a box for the sentence, and below it the answer as markup of our own."""

import contextlib
import io
import logging
import os
import socket
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ...analysis.attention import draw
from ...errors import IkdError
from ...io.html import png_address, render
from .explorer import Explorer

logger = logging.getLogger(__name__)

_TEMPLATES = Path(__file__).with_name("templates")
_SMALLEST = 0.8  # of its own size: smaller, the words of a heat map could not be read
# The page is for machines without internet too: the browser is to ask no other host for anything.
_POLICY = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'"


def answer(explorer: Explorer, sentence: str) -> str:
    """What is known of *sentence* as HTML in which every text is escaped; why nothing is, if nothing is."""
    languages = {"source": explorer.engine.facts.source, "target": explorer.engine.facts.target}
    try:
        found = explorer.explore(sentence)
    except IkdError as error:
        return render("answer.html.j2", _TEMPLATES, error=str(error), answer=None, **languages)
    maps = None if found.attention is None else draw(found.attention, found.words)
    return render(
        "answer.html.j2",
        _TEMPLATES,
        error=None,
        answer=found,
        attention=None if maps is None else _png(maps),
        readable=0 if maps is None else round(_SMALLEST * maps.get_figwidth() * maps.dpi),
        inverse=None if found.inverse is None else _png(found.inverse),
        neighbours=[(_png(neighbour.image), neighbour) for neighbour in found.neighbours],
        gallery=explorer.gallery,
        **languages,
    )


def _png(picture: Any) -> str:
    """A ``data:`` address of an image, uint8 ``H x W x 3``, or of a figure."""
    stream = io.BytesIO()
    if isinstance(picture, np.ndarray):
        Image.fromarray(picture).save(stream, "png")
    else:
        picture.savefig(stream, format="png", dpi=picture.dpi)
    return png_address(stream.getvalue())


def listen(host: str, port: int) -> socket.socket:
    """The socket of the page, taken before a model is loaded.

    Raises:
        IkdError: the port is in use, or the host is none of this machine.
    """
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)  # Python adds the address in brackets
        reason = reason.partition(" (while")[0]
        raise IkdError(
            f"--host {host} --port {port}: the page cannot be there ({reason}); give another port or host"
        ) from error


def application(explorer: Explorer, name: str) -> Any:
    """The page as an ASGI application; *name* is the model's."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before its import: nothing is to be told to anyone
    import gradio
    from fastapi import FastAPI

    source, target = explorer.engine.facts.source, explorer.engine.facts.target
    title, kind = f"Image-free translation, {source} to {target}", type(explorer.engine.model).__name__
    fonts = ["system-ui", "sans-serif"]  # gradio's own would come from elsewhere
    theme = gradio.themes.Default(
        primary_hue="blue", neutral_hue="gray", font=fonts, font_mono=["ui-monospace", "monospace"]
    )
    with gradio.Blocks(analytics_enabled=False, title=title) as blocks:
        gradio.HTML(render("head.html.j2", _TEMPLATES, title=title, name=name, kind=kind))
        box = gradio.Textbox(label=f"Source sentence ({source})", lines=1, max_lines=8, autofocus=True)
        button = gradio.Button("Translate", variant="primary", elem_id="translate")
        found = gradio.HTML()
        gradio.on(
            [button.click, box.submit],
            lambda sentence: answer(explorer, sentence or ""),
            box,
            found,
            api_name="translate",
        )
    app = FastAPI()

    @app.middleware("http")
    async def stay_here(request, call_next):
        response = await call_next(request)
        response.headers["Content-Security-Policy"] = _POLICY
        return response

    css = (_TEMPLATES / "page.css").read_text(encoding="utf-8")
    return gradio.mount_gradio_app(
        app, blocks, "/", theme=theme, css=css, footer_links=[], run_history=False, ssr_mode=False, pwa=False
    )


def serve(app: Any, place: socket.socket) -> None:
    """Answers at *place* until the process is interrupted."""
    import uvicorn

    host, port = place.getsockname()[:2]
    logger.info("the page is at http://%s:%d (Ctrl+C ends it)", f"[{host}]" if ":" in host else host, port)
    # Browsers hold a connection open, which nobody wants to wait for.
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1))
    with contextlib.suppress(KeyboardInterrupt):
        server.run([place])
