"""What ikd-demo refuses before anything is loaded."""

import sys

from ikd_fairseq.cli.demo import build_parser, main


def test_the_page_is_for_this_machine_unless_told_otherwise():
    args = build_parser().parse_args(["model.pt"])
    assert (args.host, args.port, args.data) == ("127.0.0.1", 7860, None)


def test_gradio_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["no.pt"]) == 1
    assert 'the page needs gradio: pip install "ikd-fairseq[demo]"' in capsys.readouterr().err


def test_options_for_images_need_the_folder_with_them(capsys):
    assert main(["no.pt", "--split", "test"]) == 1
    assert "--split: for images to search, give --data too" in capsys.readouterr().err
