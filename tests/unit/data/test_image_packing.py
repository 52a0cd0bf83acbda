"""Packing images: every sentence gets its image, bad lists are refused early, killed runs continue."""

import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ikd_fairseq.cli.pack_images import main
from ikd_fairseq.data import image_packing
from ikd_fairseq.data.image_pack import ImagePack, ImagePackWriter
from ikd_fairseq.data.image_packing import pack_images
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io import checksums

SIZE = 8


class Workplace:
    """A data folder with text, an image folder, and a list of images."""

    def __init__(self, folder, write_text_split):
        self.data, self.images, self.list = folder / "data", folder / "images", folder / "train.txt"
        self.prefix = str(self.data / "train")
        self.images.mkdir()
        self._write_text_split = write_text_split

    def draw(self, *names):
        for name in names:
            pixels = np.random.default_rng(sum(name.encode())).integers(0, 256, (10, 12, 3), dtype=np.uint8)
            (self.images / name).parent.mkdir(exist_ok=True)
            Image.fromarray(pixels).save(self.images / name, format="PNG")

    def name(self, *lines, sentences=None):
        self.list.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        self._write_text_split(self.data, "train", len(lines) if sentences is None else sentences)

    def pack(self, **options):
        return pack_images(str(self.data), "train", str(self.list), str(self.images), SIZE, **options)

    def expected(self, name):
        image = Image.open(self.images / name).convert("RGB")
        return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR))

    def refused(self, match, **options):
        with pytest.raises(IkdError, match=match):
            self.pack(**options)
        assert not ImagePack.exists(self.prefix)


@pytest.fixture
def place(tmp_path, write_text_split):
    return Workplace(tmp_path, write_text_split)


def test_every_sentence_gets_the_image_of_its_line(place):
    place.draw("b.png", "a.png", "sub/c.png")
    place.name("b.png", "a.png", "sub/c.png")
    pack = place.pack()
    for sentence, name in enumerate(["b.png", "a.png", "sub/c.png"]):
        np.testing.assert_array_equal(pack[sentence], place.expected(name))


def test_an_empty_line_is_a_sentence_without_an_image(place):
    place.draw("a.png")
    place.name("", "a.png", "  ")
    pack = place.pack()
    assert pack[0] is None and pack[2] is None
    np.testing.assert_array_equal(pack[1], place.expected("a.png"))


def test_captions_of_one_image_share_one_row(place):
    place.draw("a.png", "b.png")
    place.name("a.png#0", "b.png#0", "a.png#1", "./a.png#enc")
    pack = place.pack()
    assert pack.images.shape == (2, SIZE, SIZE, 3)
    assert pack.index.tolist() == [0, 1, 0, 0]


def test_only_a_number_at_the_end_is_a_caption_number(place):
    place.draw("a#1.png")
    place.name("a#1.png", "a#1.png#2")
    assert place.pack().coverage == 2


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(place):
    place.draw("a.png")
    place.name("a.png", "a.png")
    place.list.write_bytes(b"\xef\xbb\xbfa.png\r\na.png\r\n")
    assert place.pack().coverage == 2


@pytest.mark.parametrize("sentences", [2, 4])
def test_list_and_text_of_different_length_are_refused_with_both_numbers(place, sentences):
    place.draw("a.png")
    place.name("a.png", "a.png", "a.png", sentences=sentences)
    place.refused(f"train.txt has 3 lines where .*train.en-de.de.idx has {sentences} sentences")


def test_missing_images_are_refused_before_anything_is_decoded(place, monkeypatch):
    monkeypatch.setattr(image_packing, "decode_image", lambda *_: pytest.fail("decoded"))
    place.draw("a.png")
    place.name("a.png", "w.png", "x.png", "w.png", "y.png", "z.png")
    place.refused(
        r"4 of the images .*\(w.png in line 2, x.png in line 3, y.png in line 5, ...\).*--allow-missing"
    )


def test_missing_images_are_counted_where_they_are_allowed(place, caplog):
    place.draw("a.png")
    place.name("x.png", "a.png", "x.png", "y.png", "")
    caplog.set_level("INFO")
    pack = place.pack(allow_missing=True)
    assert pack.index.tolist() == [-1, 0, -1, -1, -1]
    assert (pack.manifest["missing_sentences"], pack.manifest["missing_files"]) == (3, 2)
    assert "1 of 5 sentences have an image (1 distinct images), 3 name one of 2 missing files" in caplog.text


def test_a_list_of_which_every_image_is_missing_is_refused(place):
    place.name("x.png", "y.png")
    place.refused("not one image .*x.png in line 1.*--images", allow_missing=True)


def test_a_list_without_names_is_refused(place):
    place.name("", "")
    place.refused("names no image at all")


@pytest.mark.parametrize("name", ["../secret.png", "sub/../../secret.png", "/etc/hosts", ".."])
def test_a_name_that_climbs_out_of_the_folder_is_refused_with_its_line(place, name):
    place.draw("a.png", "../secret.png")
    place.name("a.png", name)
    place.refused(f"line 2 of .*: '{name}' leads out of the image folder", allow_missing=True)


def test_a_link_that_leads_out_of_the_folder_is_refused(place):
    place.draw("a.png", "../secret.png")
    (place.images / "link.png").symlink_to(place.images.parent / "secret.png")
    place.name("a.png", "link.png")
    place.refused(
        f"line 2 of .*'link.png' is a link that leads out of the image folder {place.images}: copy the file, "
        "or give the folder"
    )


def test_a_folder_that_is_a_link_out_of_the_folder_is_refused(place):
    place.draw("a.png", "../elsewhere/b.png")
    (place.images / "sub").symlink_to(place.images.parent / "elsewhere")
    place.name("a.png", "sub/b.png")
    place.refused("line 2 of .*'sub/b.png' is a link that leads out")


def test_a_name_that_begins_with_two_dots_or_comes_back_is_inside(place):
    place.draw("..a.png", "b.png")
    place.name("..a.png", "../images/b.png")
    assert place.pack().coverage == 2


def test_a_link_inside_the_folder_is_followed(place):
    place.draw("a.png")
    (place.images / "link.png").symlink_to("a.png")
    place.name("link.png")
    np.testing.assert_array_equal(place.pack()[0], place.expected("a.png"))


def test_a_folder_beside_the_image_folder_with_the_same_beginning_is_outside(place):
    place.draw("a.png", "../images2/b.png")
    (place.images / "link.png").symlink_to(place.images.parent / "images2" / "b.png")
    place.name("link.png")
    place.refused("is a link that leads out")


@pytest.mark.parametrize(
    "line, named",
    [
        ("#3", "no image name before '#3'"),
        ("sub", "'sub' is not a file"),
        (".", "'.' is not a file"),
        ("a\0.png", "is not a file name"),
        ("a.png/b.png", "cannot be read"),
    ],
)
def test_a_line_that_names_no_file_is_refused_with_its_number(place, line, named):
    place.draw("a.png")
    (place.images / "sub").mkdir()
    place.name("a.png", line)
    place.refused(f"line 2 of .*{named}")


def test_a_list_that_is_no_text_is_refused(place):
    place.name("a.png")
    place.list.write_bytes(b"\xff\xfe\x00")
    place.refused(r"train\.txt, line 1: not UTF-8")


def test_what_is_not_there_is_named(place):
    place.draw("a.png")
    place.name("a.png")
    with pytest.raises(IkdError, match="nowhere.txt cannot be read .No such file"):
        pack_images(str(place.data), "train", str(place.data / "nowhere.txt"), str(place.images))
    with pytest.raises(IkdError, match="--images .*nowhere is not a folder"):
        pack_images(str(place.data), "train", str(place.list), str(place.data / "nowhere"))
    with pytest.raises(IkdError, match=r"no valid\.\*\.idx in .*: run fairseq-preprocess first"):
        pack_images(str(place.data), "valid", str(place.list), str(place.images))


def test_a_file_that_cannot_be_decoded_is_named_with_its_line(place):
    place.draw("a.png", "b.png")
    (place.images / "b.png").write_bytes(b"")
    place.name("a.png", "a.png", "b.png")
    place.refused(r"line 3 of .*train.txt: .*b.png is empty \(0 bytes\)")


def test_after_the_bad_file_is_mended_the_pack_is_complete(place):
    place.draw("a.png", "b.png")
    (place.images / "b.png").write_bytes(b"nonsense")
    place.name("a.png", "b.png")
    place.refused("b.png is not an image")
    place.draw("b.png")
    np.testing.assert_array_equal(place.pack()[1], place.expected("b.png"))


NAMES = [f"{number}.png" for number in range(6)]


def killed_at(place, image):
    """A process that is killed when it comes to decode the *image*-th image."""

    def run():
        ImagePackWriter.ROWS_BETWEEN_FLUSHES = 2
        decode, decoded = image_packing.decode_image, []

        def decode_or_die(path, image_size):
            decoded.append(path)
            if len(decoded) == image:
                os.kill(os.getpid(), signal.SIGKILL)
            return decode(path, image_size)

        image_packing.decode_image = decode_or_die
        image_packing._IMAGES_PER_TASK = 1
        place.pack()

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def count_decoding(monkeypatch):
    decode, decoded = image_packing.decode_image, []

    def counted(path, image_size):
        decoded.append(os.path.basename(path))
        return decode(path, image_size)

    monkeypatch.setattr(image_packing, "decode_image", counted)
    return decoded


def test_a_killed_run_is_continued_and_gives_the_same_files(place, monkeypatch):
    place.draw(*NAMES)
    place.name(*NAMES)
    place.pack()
    uninterrupted = {
        suffix: open(place.prefix + suffix, "rb").read() for suffix in (".images.npy", ".images.json")
    }
    for suffix in (".images.npy", ".images.index.npy", ".images.json"):
        os.remove(place.prefix + suffix)

    killed_at(place, 6)
    assert not ImagePack.exists(place.prefix)
    decoded = count_decoding(monkeypatch)
    place.pack().verify()
    assert decoded == ["4.png", "5.png"]
    for suffix, content in uninterrupted.items():
        assert open(place.prefix + suffix, "rb").read() == content


@pytest.mark.parametrize("change", ["list", "size", "image"])
def test_a_killed_run_with_other_input_is_not_continued(place, monkeypatch, change):
    place.draw(*NAMES)
    place.name(*NAMES)
    killed_at(place, 6)
    if change == "list":
        place.name(*reversed(NAMES))
    elif change == "image":
        os.utime(place.images / "5.png", ns=(1, 1))
    else:
        monkeypatch.setattr(f"{__name__}.SIZE", SIZE + 1)
    decoded = count_decoding(monkeypatch)
    pack = place.pack()
    assert len(decoded) == 6
    for sentence, name in enumerate(place.list.read_text().split()):
        np.testing.assert_array_equal(pack[sentence], place.expected(name))


def test_a_complete_pack_is_not_packed_again(place, monkeypatch):
    place.draw("a.png")
    place.name("a.png")
    place.pack()
    before = os.stat(place.prefix + ".images.npy")
    decoded = count_decoding(monkeypatch)
    left = [Path(f"{place.prefix}.images.{name}.partial") for name in ("done", "json")]
    for path in left:
        path.touch()  # as a run that was killed in its last step leaves them
    place.pack()
    after = os.stat(place.prefix + ".images.npy")
    assert decoded == [] and (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert not any(path.exists() for path in left)


def test_packing_again_beside_new_text_keeps_the_images(place, monkeypatch, write_text_split):
    place.draw("a.png")
    place.name("a.png")
    pack = place.pack()
    write_text_split(place.data, "train", 1, length=9)
    with pytest.raises(IkdError, match="another preparation"):
        pack.check_text(str(place.data), "train")
    decoded = count_decoding(monkeypatch)
    place.pack()
    assert decoded == []
    ImagePack.open(place.prefix).check_text(str(place.data), "train")


def test_a_damaged_pack_is_packed_anew(place):
    place.draw("a.png")
    place.name("a.png")
    place.pack()
    os.remove(place.prefix + ".images.npy")
    np.testing.assert_array_equal(place.pack()[0], place.expected("a.png"))


def test_several_processes_give_the_same_pack_as_one(place, monkeypatch):
    monkeypatch.setattr(image_packing, "_IMAGES_PER_TASK", 1)
    place.draw(*NAMES)
    place.name(*NAMES)
    one = place.pack(workers=1).manifest
    os.remove(place.prefix + ".images.json")
    assert place.pack(workers=2).manifest == one


def test_the_command_packs_and_verifies(place, capsys, monkeypatch):
    place.draw("a.png")
    place.name("a.png", "")
    arguments = ["--data", place.data, "--split", "train", "--list", place.list, "--images", place.images]
    assert not main([*map(str, arguments), "--image-size", "8", "--workers", "1", "--verify"])
    assert ImagePack.open(place.prefix).image_size == 8

    with open(place.prefix + ".images.npy", "r+b") as stream:
        stream.seek(-1, os.SEEK_END)
        byte = stream.read(1)[0]
        stream.seek(-1, os.SEEK_END)
        stream.write(bytes([byte ^ 1]))
    with monkeypatch.context() as large:  # of which opening compares samples alone
        large.setattr(checksums, "WHOLE", 0)
        large.setattr(checksums, "SAMPLES", 0)
        assert main([*map(str, arguments), "--image-size", "8", "--verify"]) == 1
        assert "pack-images: error: " in capsys.readouterr().err
    assert not main([*map(str, arguments), "--image-size", "8", "--verify"])
    assert "packing anew: " in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--image-size", "--workers"])
@pytest.mark.parametrize("value", ["0", "-3", "1.5", "x"])
def test_numbers_must_be_whole_and_positive(option, value, capsys):
    with pytest.raises(SystemExit):
        main(["--data", "d", "--split", "s", "--list", "l", "--images", "i", option, value])
    assert f"{option}: {value!r} is not a whole number above 0" in capsys.readouterr().err
