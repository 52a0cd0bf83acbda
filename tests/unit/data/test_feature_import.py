"""Published features land at the right sentences, whatever file and order of axes they come in."""

import sys

import numpy as np
import pytest
import torch

from ikd_fairseq.data import feature_import
from ikd_fairseq.data.feature_import import import_features
from ikd_fairseq.data.feature_pack import FeaturePack, write_features
from ikd_fairseq.data.published_features import tell_layout
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from tests.split_with_images import random_images, save, write_images

SIZE = 4
IMAGES = random_images(SIZE)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_published_vectors_by_sentence(data, dtype):
    published = np.random.default_rng(1).standard_normal((5, 6)).astype(dtype)
    pack = import_features(data, "train", save(data, published), "own")
    assert (len(pack), pack.regions, pack.channels) == (5, 1, 6)
    for sentence in range(5):
        np.testing.assert_array_equal(pack[sentence], published[sentence].astype(np.float16)[None])
    pack.check_text(data, "train")


def test_features_of_an_encoder_are_not_replaced_by_those_of_others(data):
    path = save(data, np.ones((5, 6), np.float32))
    import_features(data, "train", path, "own")
    import_features(data, "train", path, "own")  # again, from the same
    manifest = {"rows": "sentences", "text": text_fingerprint(str(data), "train"), "backbone": "resnet50"}
    blocks = np.zeros((5, 6, 1), np.float16)
    with pytest.raises(IkdError, match=r"own\.npy holds features by others, and these are by resnet50: give"):
        write_features(f"{data}/train", "own", blocks.shape, [blocks], manifest)
    write_features(f"{data}/train", "cnn", blocks.shape, [blocks], manifest)
    with pytest.raises(IkdError, match="cnn.npy holds features by resnet50, and these are by others"):
        import_features(data, "train", path, "cnn")


def test_published_maps_by_image_follow_the_index(data):
    write_images(data, IMAGES)
    published = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    pack = import_features(data, "train", save(data, published), "own")
    assert (pack.regions, pack.channels) == (4, 2)
    assert pack[1] is None
    np.testing.assert_array_equal(pack[0], published[2])
    np.testing.assert_array_equal(pack[3], published[1])


def test_published_maps_with_channels_first_become_regions_row_by_row(data, monkeypatch):
    monkeypatch.setattr(feature_import, "_ROWS_AT_ONCE", 2)
    published = np.arange(5 * 3 * 2 * 4, dtype=np.float32).reshape(5, 3, 2, 4)  # rows x C x H x W
    path = save(data, published)
    with pytest.raises(IkdError, match=r"\(5, 3, 2, 4\), in which regions and channels .*--layout"):
        import_features(data, "train", path, "own")
    pack = import_features(data, "train", path, "own", layout="channels-first")
    assert (pack.regions, pack.channels) == (8, 3)
    for sentence in range(5):
        for row in range(2):
            for column in range(4):
                expected = published[sentence, :, row, column]
                np.testing.assert_array_equal(pack[sentence][4 * row + column], expected)


def test_more_rows_than_are_read_at_once_stay_in_order(data, monkeypatch):
    monkeypatch.setattr(feature_import, "_ROWS_AT_ONCE", 2)
    published = np.arange(5, dtype=np.float32).reshape(5, 1)
    pack = import_features(data, "train", save(data, published), "own")
    assert [pack[sentence].item() for sentence in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rows, expected", [("sentences", [0, 1, 2, 3, 4]), ("images", [1, 0, 2, 3, 4])])
def test_rows_that_fit_both_ways_are_asked_about(data, rows, expected):
    write_images(data, np.repeat(IMAGES[:1], 5, axis=0), np.array([1, 0, 2, 3, 4], dtype=np.int32))
    path = save(data, np.arange(5, dtype=np.float32).reshape(5, 1))
    with pytest.raises(
        IkdError, match="5 rows, .*5 sentences and 5 images: .*--rows sentences or --rows images"
    ):
        import_features(data, "train", path, "own")
    pack = import_features(data, "train", path, "own", rows)
    assert [pack[sentence].item() for sentence in range(5)] == expected


def test_rows_that_mean_the_same_both_ways_are_not_asked_about(data):
    write_images(data, np.repeat(IMAGES[:1], 5, axis=0), np.arange(5, dtype=np.int32))
    pack = import_features(data, "train", save(data, np.arange(5.0).reshape(5, 1)), "own")
    assert [pack[sentence].item() for sentence in range(5)] == [0, 1, 2, 3, 4]


def test_rows_that_fit_neither_way_are_refused_with_all_numbers(data):
    path = save(data, np.zeros((4, 2)))
    with pytest.raises(IkdError, match="published.npy has 4 rows, .* 5 sentences and no image pack"):
        import_features(data, "train", path, "own")
    write_images(data, IMAGES)
    with pytest.raises(IkdError, match="published.npy has 4 rows, .* 5 sentences and 3 images"):
        import_features(data, "train", path, "own")
    with pytest.raises(IkdError, match="cannot be --rows images"):
        import_features(data, "train", save(data, np.zeros((5, 2))), "own", "images")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 70000.0])
def test_bad_numbers_are_refused_with_their_row_and_nothing_is_left(data, bad):
    published = np.zeros((5, 2), dtype=np.float32)
    published[3, 1] = bad
    for array in (published, published.reshape(5, 2, 1, 1)):
        with pytest.raises(IkdError, match=f"row 3 of .*published.npy holds {bad}"):
            import_features(data, "train", save(data, array), "own")
    assert not FeaturePack.exists(f"{data}/train", "own")


@pytest.mark.parametrize(
    "array", [np.zeros((5, 2), dtype=np.int64), np.zeros(5), np.zeros((5, 2, 2, 2, 2)), np.zeros((5, 0))]
)
def test_arrays_of_another_form_are_refused(data, array):
    with pytest.raises(IkdError, match="--from-file .*published.npy holds"):
        import_features(data, "train", save(data, array), "own")


def test_files_that_are_no_array_are_refused(data):
    for name, content in (("empty.npy", b""), ("text.npy", b"1 2 3")):
        with open(f"{data}/{name}", "wb") as stream:
            stream.write(content)
        with pytest.raises(IkdError, match=f"--from-file .*{name}"):
            import_features(data, "train", f"{data}/{name}", "own")
    np.savez(f"{data}/several.npz", a=np.zeros((5, 2)))
    with pytest.raises(IkdError, match="several.npz is not a single"):
        import_features(data, "train", f"{data}/several.npz", "own")
    with pytest.raises(IkdError, match="nowhere.npy"):
        import_features(data, "train", f"{data}/nowhere.npy", "own")


@pytest.mark.parametrize(
    "shape, layout",
    [
        ((9, 2048), "channels-last"),
        ((9, 1, 2048), "channels-last"),
        ((9, 1, 1024), "channels-last"),
        ((9, 1024, 1), "channels-first"),
        ((9, 20, 2048), "channels-last"),
        ((9, 36, 2048), "channels-last"),
        ((9, 577, 192), "channels-last"),
        ((9, 2048, 49), "channels-first"),
        ((9, 768, 197), "channels-first"),
        ((9, 2048, 1), "channels-first"),
        ((9, 2048, 7, 7), "channels-first"),
        ((9, 7, 7, 2048), "channels-last"),
        ((9, 14, 14, 1024), "channels-last"),
        ((9, 2048, 1, 1), "channels-first"),
    ],
)
def test_regions_and_channels_are_told_apart_by_their_numbers(shape, layout):
    assert tell_layout(shape, None, "f.npy") == layout


@pytest.mark.parametrize(
    "shape",
    [
        (9, 1024, 196),
        (9, 196, 1024),
        (9, 60, 40),
        (9, 256, 3136),  # shallow maps of 56 x 56 and 28 x 28, or as many channels
        (9, 64, 784),
        (9, 96, 784),
        (9, 7, 7, 7),
        (9, 3, 2, 4),
    ],
)
def test_where_they_cannot_be_told_apart_somebody_must(shape):
    with pytest.raises(IkdError, match="f.npy .* told apart: .*--layout channels-first or channels-last"):
        tell_layout(shape, None, "f.npy")
    for asked in ("channels-first", "channels-last"):
        assert tell_layout(shape, asked, "f.npy") == asked


def test_maps_with_channels_last_are_what_they_are_with_channels_first(data):
    first = np.random.default_rng(1).standard_normal((5, 8, 2, 2)).astype(np.float16)
    expected = first.reshape(5, 8, 4).transpose(0, 2, 1)
    for array in (first, first.transpose(0, 2, 3, 1), expected, first.reshape(5, 8, 4)):
        pack = import_features(data, "train", save(data, array), "own")
        assert (pack.regions, pack.channels) == (4, 8)
        np.testing.assert_array_equal(pack.features, expected)


def test_tensors_are_read_and_nothing_in_their_file_is_run(data):
    array = np.random.default_rng(1).standard_normal((5, 4, 8)).astype(np.float16)
    torch.save(torch.from_numpy(array), f"{data}/f.pth")
    torch.save({"a": torch.from_numpy(array), "b": torch.zeros(5, 2)}, f"{data}/several.pt")
    torch.save(torch.from_numpy(array).bfloat16(), f"{data}/brain.pt")
    for path, dataset in (("f.pth", None), ("several.pt", "a")):
        pack = import_features(data, "train", f"{data}/{path}", "own", dataset=dataset)
        np.testing.assert_array_equal(pack.features, array)
    brain = import_features(data, "train", f"{data}/brain.pt", "own")
    np.testing.assert_allclose(brain.features, array, rtol=0.01)
    with pytest.raises(IkdError, match="several.pt holds a, b: say which by --dataset"):
        import_features(data, "train", f"{data}/several.pt", "own")
    torch.save({"epoch": 3}, f"{data}/none.pt")
    with pytest.raises(IkdError, match="none.pt holds no array"):
        import_features(data, "train", f"{data}/none.pt", "own")
    torch.save(print, f"{data}/code.pth")
    with pytest.raises(IkdError, match="code.pth is refused: it holds .* which would run code"):
        import_features(data, "train", f"{data}/code.pth", "own")


def test_hdf5_is_read(data, monkeypatch):
    h5py = pytest.importorskip("h5py")
    array = np.random.default_rng(1).standard_normal((5, 4, 8)).astype(np.float16)
    path = f"{data}/f.h5"
    with h5py.File(path, "w") as file:
        file["group/features"] = array
    for dataset in (None, "group/features"):
        pack = import_features(data, "train", path, "own", dataset=dataset)
        np.testing.assert_array_equal(pack.features, array)
    with pytest.raises(IkdError, match="--dataset c: .*f.h5 has none of that name but group/features"):
        import_features(data, "train", path, "own", dataset="c")
    with h5py.File(path, "w") as file:
        file["features"] = np.full((5, 8), np.nan, dtype=np.float32)
    with pytest.raises(IkdError, match="row 0 of .*f.h5 holds nan"):
        import_features(data, "train", path, "own")
    open(path, "wb").close()
    with pytest.raises(IkdError, match="f.h5 cannot be read as HDF5"):
        import_features(data, "train", path, "own")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(IkdError, match=r'f.h5 needs h5py: pip install "ikd-fairseq\[hdf5\]"'):
        import_features(data, "train", path, "own")


@pytest.fixture
def folder(data, tmp_path):
    """One file an image, and a list of the five sentences' images, of which the second has none."""
    (tmp_path / "files").mkdir()
    for number, name in enumerate(["red", "green", "blue"]):
        np.save(tmp_path / "files" / f"{name}.npy", np.full((4, 8), number, dtype=np.float32))
    (tmp_path / "list.txt").write_text("blue.jpg#0\n\nred.jpg\ngreen.jpg\nblue.jpg\n", encoding="utf-8")
    return tmp_path / "files"


def import_folder(data, folder):
    return import_features(data, "train", str(folder), "own", list_path=f"{data}/list.txt")


def test_a_folder_of_one_file_an_image_follows_the_list(data, folder):
    write_images(data, IMAGES)
    pack = import_folder(data, folder)
    assert pack[1] is None and (pack.regions, pack.channels) == (4, 8)
    assert [int(pack[sentence][0, 0]) for sentence in (0, 2, 3, 4)] == [2, 0, 1, 2]


def test_what_is_wrong_with_a_folder_is_said_of_its_file(data, folder):
    with pytest.raises(IkdError, match="line 2 of --list .* names no image: .*ikd-pack-images"):
        import_folder(data, folder)
    write_images(data, IMAGES)
    with pytest.raises(IkdError, match="needs --list"):
        import_features(data, "train", str(folder), "own")
    np.save(folder / "green.npy", np.full((4, 8), np.nan))
    with pytest.raises(IkdError, match="row 0 of .*green.npy holds nan"):
        import_folder(data, folder)
    np.save(folder / "green.npy", np.zeros((5, 8)))
    with pytest.raises(
        IkdError, match=r"green.npy holds an array of \(5, 8\), but .*red.npy one of \(4, 8\)"
    ):
        import_folder(data, folder)
    (folder / "green.npy").unlink()
    with pytest.raises(IkdError, match="neither green.jpg.npy nor .*green.npy, for green.jpg"):
        import_folder(data, folder)
    (folder.parent / "list.txt").write_text("red.jpg\n", encoding="utf-8")
    with pytest.raises(IkdError, match="list.txt has 1 lines where the split has 5 sentences"):
        import_folder(data, folder)
