"""The page: self-contained, escaped, with the numbers of the files; what it says where something lacks."""

import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from ikd_fairseq.cli.report import main
from ikd_fairseq.errors import IkdError
from ikd_fairseq.experiments.page.document import make_report
from ikd_fairseq.experiments.record import Record
from tests.finished_runs import PNG, spoilt, write_run

EVIL = '<i>Titel</i> & "mehr"'
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class Page(HTMLParser):
    """Elements with their attributes, text by element, and whether every element is closed."""

    VOID = {"meta", "img", "link", "br", "input"}

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, name, attributes):
        self.elements.append((name, dict(attributes)))
        if name not in self.VOID:
            self.open.append(name)

    def handle_endtag(self, name):
        assert self.open.pop() == name

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, name):
        return [attributes for found, attributes in self.elements if found == name]

    @property
    def words(self):
        return " ".join("\n".join(self.text).split())


@pytest.fixture
def runs(tmp_path):
    text = [write_run(tmp_path / f"text-seed{seed}", {"test": spoilt(2 + seed)}) for seed in (1, 2)]
    ikd = [write_run(tmp_path / f"ikd-seed{seed}", {"test": spoilt(10 * seed)}) for seed in (1, 2)]
    attention = ikd[0] / "attention"
    attention.mkdir()
    (attention / "attention.7.png").write_bytes(PNG)
    (attention / "attention.tsv").write_text("sentence\thead\tsource\n" + "7\t1\t<u>x</u>\n" * 50)
    return text + ikd


def report(runs, **options):
    return make_report(runs, **{"trials": 100, "title": EVIL, **options})


def test_page_asks_for_nothing_outside_itself(runs):
    text = report(runs)
    page = Page(text)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    attributes = [item for _, own in page.elements for item in own.items()]
    addresses = [value for name, value in attributes if name in ("src", "href", "srcset")]
    assert addresses and all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"url\(|@import|https?:", text)
    assert not [name for name, _ in attributes if name.startswith("on")]


def test_text_of_the_data_is_shown_and_never_markup(runs):
    text = report(runs)
    page = Page(text)
    for evil in (EVIL, "<b>falsch</b>", "<u>x</u>", "/data/<de>", "EPYC <7>", "5b5b<i>"):
        assert evil in page.words
        assert evil.split(">")[0] + ">" not in text


def test_names_are_never_markup_wherever_they_stand(runs):
    evil = '"><script>alert(1)</script>'
    for run, name in zip(runs, (evil, evil, "ikd", "ikd")):
        Record.update(run, system=name, labels={f"{evil}label": evil}, options={evil: {evil: evil}})
    text = report(runs, called_as=f"ikd-report {evil}")
    page = Page(text)
    assert not page.all("script") and page.words.count(evil) > 20
    assert any(evil in own["aria-label"] for own in page.all("svg") if own.get("role") == "img")


def test_links_and_labels_lead_somewhere_and_ids_are_unique(runs):
    page = Page(report(runs))
    ids = [own["id"] for _, own in page.elements if "id" in own]
    assert len(set(ids)) == len(ids)
    wanted = [own["href"][1:] for own in page.all("a")]
    wanted += [own["aria-labelledby"] for _, own in page.elements if "aria-labelledby" in own]
    assert len(wanted) > 8 and set(wanted) <= set(ids)
    assert page.all("html") == [{"lang": "en"}] and len(page.all("h1")) == 1
    assert all(own.get("alt") for own in page.all("img")) and page.all("img")
    assert all(own.get("aria-label") or own.get("aria-hidden") for own in page.all("svg"))
    assert len(page.all("caption")) == len(page.all("table"))
    assert all(own.get("scope") for own in page.all("th"))


def test_scores_are_those_of_the_files(runs):
    words = Page(report(runs)).words
    for metric in ("bleu", "chrf"):
        contents = [json.loads((run / "run.json").read_text()) for run in runs]
        scores = [content["scores"]["test"][0]["metrics"][metric]["value"] for content in contents]
        for first, second in (scores[:2], scores[2:]):
            deviation = abs(first - second) / 2**0.5
            assert f"{(first + second) / 2:.2f} ± {deviation:.2f}" in words
        difference = (sum(scores[2:]) - sum(scores[:2])) / 2
        assert f"{difference:+.2f}" in words
    assert "Of 2 differences from text, 2 are significant at p < 0.05: ikd on test (+" in words
    assert "2 systems (text, ikd), 4 runs; baseline: text" in words


def test_a_system_with_more_seeds_than_the_baseline_is_never_significant(runs):
    words = Page(report([runs[0], *runs[2:]])).words
    assert "Of 2 differences from text, none is significant at p < 0.05." in words
    assert "(1 of 2 runs)" in words and "†" not in words.split("Learning curves")[1].split("Below each")[0]
    assert "ikd: differences from text are of 1 of its 2 runs" in words


def test_seeds_of_other_methods_are_noted(runs):
    assert "differ in more" not in Page(report(runs)).words
    Record.update(runs[3], options={"model": {"_name": "ikd_transformer", "dropout": 0.1}})
    assert "ikd: its runs differ in more than their seed, " in Page(report(runs)).words


def test_sentences_with_an_image_have_tables_of_their_own(tmp_path):
    folders = [
        write_run(tmp_path / name, {"test": spoilt(every)}, pictured=pictured)
        for name, every, pictured in (("text", 2, 30), ("ikd", 9, 30))
    ]
    page = Page(report(folders))
    assert "All sentences Of 2 differences from text" in page.words
    assert "Sentences with an image Of 2 differences from text" in page.words
    captions = [own["id"] for own in page.all("caption")]
    assert captions[:4] == ["score-0-bleu", "score-0-chrf", "score-1-bleu", "score-1-chrf"]
    assert page.words.count("40 sentences") == page.words.count("30 sentences") + 1  # the cases are of all

    content = json.loads((folders[1] / "run.json").read_text())
    content["scores"]["test"] = content["scores"]["test"][1:]  # as of a system that needs images
    (folders[1] / "run.json").write_text(json.dumps(content))
    words = Page(report(folders)).words
    all_sentences, _, with_image = words.partition("Sentences with an image Of 2 differences")
    assert "No difference from text could be tested." in all_sentences and with_image
    assert "Of the 30 sentences of test, ikd scores higher than text in" in words
    sentences = [int(number) for number in re.findall(r"Sentence (\d+),", words)]
    assert sentences and all(number >= 10 for number in sentences)  # counted in the whole split


def test_split_whose_every_sentence_has_an_image_has_one_table(tmp_path):
    text = report([write_run(tmp_path / "text", {"test": spoilt(2)}, pictured=40)])
    assert "All sentences" in text and "Sentences with an image" not in text


def test_splits_are_all_or_those_asked_for(tmp_path):
    folders = [
        write_run(tmp_path / "text", {"test": spoilt(2), "test1": spoilt(2)}, trained=False),
        write_run(tmp_path / "ikd", {"valid": spoilt(9), "test": spoilt(9)}, trained=False),
    ]
    heads = "system test 40 sentences test1 40 sentences valid 40 sentences"
    assert heads in Page(report(folders)).words
    words = Page(report([tmp_path], baseline="text", splits=["valid", "test"])).words  # a folder of runs
    assert "system valid 40 sentences test 40 sentences text 1 run" in words and "test1" not in words


def test_other_baseline_turns_the_sign(runs):
    words = Page(report(runs, baseline="ikd")).words
    assert "baseline: ikd" in words and re.search(r"are significant at p < 0.05: text on test \(−\d", words)
    assert "text loses against ikd" in words


def test_curves_and_how_it_was_made_come_from_the_run(runs):
    page = Page(report(runs))
    assert len([own for own in page.all("svg") if own.get("role") == "img"]) == 2  # nll_loss and kd_irm
    assert any("text from 11.3 to 8.5" in own.get("aria-label", "") for own in page.all("svg"))
    assert len(page.all("polyline")) == 2 * 2 * 4
    for words in (
        "text_transformer ikd_transformer",
        "29,000 sentence pairs, 6,993 with an image of 64 px",
        "CNN efficientnet_lite0",
        "2.8 min",
        "2,100 MB",
        "0.1.0, commit 1f2e3d, with changes",
        "python 3.11.7, torch 2.14",
        "gpus: A, A",
        "dict.en.txt 5b5b<i>",
    ):
        assert words in page.words
    assert "save_dir" not in page.words.split("All options of text")[0]


def test_pictures_and_tables_of_analyses_are_carried_along(runs, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "retrieval.tsv").write_text("split\tR@1\nvalid\t4.1\n")
    page = Page(report(runs, analyses=[tmp_path / "elsewhere"]))
    (image,) = page.all("img")
    assert image["src"].startswith("data:image/png;base64,")
    assert (image["width"], image["height"]) == ("2", "1")
    assert "ikd-seed1: attention, sentence 7" in page.words
    assert "the first 40 of 50 rows of attention.tsv" in page.words
    assert (
        "elsewhere: retrieval" in page.words
        and "Nothing was found of inverse, inversion, clusters, regions" in page.words
    )


def test_cases_mark_words_in_more_than_colour(runs):
    page = Page(report(runs))
    assert "Of the 40 sentences of test, ikd scores higher than text in" in page.words
    assert any(own.get("class") == "word-wrong" for own in page.all("mark"))
    assert "source 3" in page.words


def test_what_is_missing_is_said(tmp_path):
    alone = write_run(tmp_path / "alone", {"test": spoilt(3)}, trained=False)
    words = Page(report([alone])).words
    for sentence in (
        "There is one system, so there is nothing to compare it with.",
        "Every system: one run, so there is no deviation",
        "There is no curve of alone: its TensorBoard files hold no validation.",
        "There is one system, so there is nothing to hold it against.",
        "The options of alone are not known",
        "Nothing was found of ",
    ):
        assert sentence in words


def test_command_writes_the_page_at_once_and_names_itself(runs, tmp_path, capsys):
    output = tmp_path / "page.html"
    assert main([*map(str, runs[1:3]), "--output", str(output), "--title", "T"]) is None
    page = Page(output.read_text(encoding="utf-8"))
    assert "ikd and text have no run of the same seed" in page.words
    assert f"ikd-report {runs[1]} {runs[2]} --output {output} --title T" in page.words
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_options_that_cannot_be_met_are_refused_in_a_sentence(runs, tmp_path, capsys):
    for options, message in (
        ([str(tmp_path / "nowhere")], "nowhere holds no finished run"),
        ([str(runs[0]), "--baseline", "x"], "--baseline x: there is no such system; there are text"),
        ([str(runs[0]), "--splits", "dev"], "--splits dev: no run has a score of it"),
        ([str(runs[0]), "--cases", "text"], "--cases text: there is no such system beside the baseline"),
        ([str(runs[0]), "--analyses", "x"], "--analyses x is no folder"),
        ([str(runs[0]), "--output", str(tmp_path / "a" / "b")], "does not exist"),
    ):
        output = [] if "--output" in options else ["--output", str(tmp_path / "page.html")]
        assert main([*options, *output]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "page.html").exists()
    with pytest.raises(IkdError, match="do not compare"):
        report([runs[0], write_run(tmp_path / "short", {"test": spoilt(2)[:5]})])


@pytest.mark.skipif(not any(map(shutil.which, BROWSERS)), reason="no Chromium to look at the page with")
def test_page_is_no_wider_than_the_screen(runs, tmp_path):
    # Frames have exactly the width wanted, where a window has a least one.
    (tmp_path / "page.html").write_text(report(runs), encoding="utf-8")
    widths = (390, 1280)
    frames = "".join(f'<iframe src="page.html" width="{width}" height="900"></iframe>' for width in widths)
    (tmp_path / "frames.html").write_text(
        f"<style>iframe {{ border: 0 }}</style>{frames}"
        "<script>onload = () => document.title = [...document.querySelectorAll('iframe')]"
        ".map(frame => frame.contentDocument.documentElement)"
        ".map(root => `${root.scrollWidth}/${root.clientWidth}`)</script>"
    )
    browser = next(filter(None, map(shutil.which, BROWSERS)))
    shown = subprocess.run(
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--no-first-run",
            "--window-size=1400,1000",
            "--disable-background-networking",
            "--allow-file-access-from-files",
            "--dump-dom",
            f"--user-data-dir={tmp_path / 'profile'}",
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HOME": str(tmp_path)},
        check=True,
    ).stdout
    found = re.findall(r"(\d+)/(\d+)", re.search("<title>(.*)</title>", shown)[1])
    assert len(found) == len(widths)
    for width, (page, screen) in zip(widths, found):
        assert int(page) <= int(screen) and width - 20 <= int(screen) <= width
