"""ikd-demo on a model of drawn scenes: by its requests, and as a person sees it, in Chromium."""

import html
import json
import re
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from ikd_fairseq.cli.demo import main
from ikd_fairseq.cli.export import main as export
from ikd_fairseq.serving.demo.explorer import Explorer
from ikd_fairseq.serving.translator import SentenceTranslator
from tests.closeness import assert_close_to_scale
from tests.integration.command_line import (
    MODEL,
    OPTIMIZER,
    TASK,
    WarmCommand,
    run,
)

for package in ("gradio", "matplotlib"):
    pytest.importorskip(package, reason=f"the extra `demo` is not installed ({package})")

SYSTEM = f"""--arch ikd_transformer_tiny {MODEL} --dropout 0 --backbone efficientnet_lite0 --image-size 64
    --encoder-embed-dim 64 --decoder-embed-dim 64 --unpool depthwise --criterion translation"""
SENTENCE = "Three small green stars and a big white car in a meadow."
MARKUP = '<script>window.ran = 1</script><img src="x" onerror="window.ran = 1"> a red ball'
QUIET = "no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-sync"


@pytest.fixture(scope="module")
def model(scenes, tmp_path_factory):
    """The data folder, and the checkpoint of a model that tells some of its scenes apart.

    Its student is as random as at the start: what it paints is not looked at here.
    """
    folder = tmp_path_factory.mktemp("demo")
    limits = "--max-tokens 500 --max-epoch 30 --validate-interval 30 --save-interval 30 --warmup-updates 20"
    save = f"--save-dir {folder} --no-epoch-checkpoints"
    run("fairseq_cli.train", [str(scenes)], TASK, SYSTEM, OPTIMIZER, limits, save)
    return SimpleNamespace(data=scenes, file=folder / "checkpoint_last.pt")


@pytest.fixture(scope="module")
def page(model):
    """The address of the page."""
    options = ["--data", str(model.data), "--cpu", "--port", "0"]
    server = WarmCommand("ikd_fairseq.cli.demo:main", [str(model.file), *options])
    for _ in range(120):
        found = re.search(rb"the page is at (http://127\.0\.0\.1:\d+)", server.printed)
        if found or not server.runs_after(0.5):
            break
    assert found, server.printed.decode()
    yield found[1].decode()
    server.kill()


def ask(page: str, sentence: str) -> str:
    """The markup that a program gets for *sentence*, as gradio's clients ask for it."""
    address, body = f"{page}/gradio_api/call/translate", json.dumps({"data": [sentence]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as response:
        event = json.load(response)["event_id"]
    with urllib.request.urlopen(f"{address}/{event}", timeout=60) as response:
        (data,) = json.loads(response.read().decode().split("event: complete\ndata: ")[1].split("\n")[0])
    return data


def test_several_users_get_their_own_translations_and_nobody_else_is_asked(model, page):
    sentences = [SENTENCE, "A dark night.", "two bats at the sea", "a clear sky with a red boat on the left"]
    with ThreadPoolExecutor(4) as users:
        answers = list(users.map(lambda sentence: ask(page, sentence), sentences))
    translator = SentenceTranslator.load(model.file, data=str(model.data), cpu=True)
    found = [best.text for best, *_ in translator.translate(sentences)]
    assert len(set(found)) > 1
    for text, markup in zip(found, answers):
        assert f'<p class="best" lang="de">{text}</p>' in html.unescape(markup)
        assert markup.count("<img") == 7  # heat maps, inverse image and five real ones
    with urllib.request.urlopen(page, timeout=60) as response:
        assert response.headers["Content-Security-Policy"].startswith("default-src 'self'")


def test_the_nearest_images_are_those_that_retrieval_finds_for_a_sentence_of_the_split(model):
    explorer = Explorer.open(str(model.file), str(model.data), cpu=True, tokenizer="none")
    features = explorer.gallery.features
    text = model.data.parent / "scenes" / "text" / "val.lc.norm.tok.en"
    lines = text.read_text(encoding="utf-8").splitlines()
    assert len(features.generated) == len(lines) == 20
    for line, generated in zip(lines[:3], features.generated):
        found = torch.tensor([one.similarity for one in explorer.explore(line).neighbours])
        assert_close_to_scale(found, (features.seen @ generated).topk(5).values, tolerance=1e-4, scale=1)


def test_an_exported_model_says_what_it_lacks(model, tmp_path):
    assert not export([str(model.file), str(tmp_path / "exported.pt"), "--data", str(model.data)])
    explorer = Explorer.open(str(tmp_path / "exported.pt"), cpu=True)
    assert set(explorer.missing) == {"inverse", "nearest"}
    assert explorer.explore(SENTENCE).attention is not None


def test_what_cannot_be_used_is_refused_in_a_sentence(model, tmp_path, capsys):
    def refusal(*arguments):
        assert main([*map(str, arguments), "--port", "0", "--cpu"]) == 1
        return capsys.readouterr().err.splitlines()[-1]

    assert f"{tmp_path}/no.pt: there is no such file" in refusal(tmp_path / "no.pt")
    without = tmp_path / "data"
    shutil.copytree(model.data, without, ignore=shutil.ignore_patterns("*.images.*"))
    assert f"valid in {without} has no images" in refusal(model.file, "--data", without)


# ---------------------------------------------------------------- in a browser


@pytest.fixture
def browser():
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("there is no Chromium on PATH")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=program, args=[f"--{option}" for option in QUIET.split()]
        )
        yield chromium
        chromium.close()


def test_a_person_sees_translations_and_pictures_and_markup_as_text(model, page, browser):
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    requests: list[str] = []
    failures: list[str] = []
    tab.on("request", lambda request: requests.append(request.url))
    tab.on("pageerror", lambda error: failures.append(str(error)))
    tab.goto(page)
    box = tab.get_by_role("textbox", name="Source sentence (en)")

    def translate(text, part, shown=""):
        box.fill(text)
        tab.get_by_role("button", name="Translate").click()
        tab.locator(f".answer {part}", has_text=shown).wait_for()

    box.fill(SENTENCE)
    box.press("Enter")
    tab.locator(".answer .best").wait_for()
    for part, count in (("attention", 1), ("inverse", 1), ("nearest", 5)):
        widths = tab.locator(f".{part} img").evaluate_all("images => images.map(image => image.naturalWidth)")
        assert len(widths) == count and min(widths) >= 64
    assert tab.locator(".translation tbody tr").count() == 5

    translate("", ".error", "There is nothing to translate: type a sentence.")
    assert tab.locator(".answer img").count() == 0
    translate(("a red ball " * 400)[:5000], ".error", "and the model takes 1,023: split it.")
    translate(MARKUP, ".translation")
    assert tab.evaluate("window.ran") is None
    assert tab.locator(".answer script, .answer [onerror], .answer img[src='x']").count() == 0
    shown = html.unescape(tab.locator(".answer dd").first.inner_text().replace("@@ ", ""))
    assert "< script > window.ran = 1 < / script > < img src" in shown

    tab.set_viewport_size({"width": 390, "height": 844})
    translate(SENTENCE, ".attention img")
    scrolled, visible = tab.evaluate("[document.documentElement.scrollWidth, window.innerWidth]")
    assert visible == 390 and scrolled <= 390
    assert not failures
    assert requests and all(url.startswith((page, "data:")) for url in requests)
