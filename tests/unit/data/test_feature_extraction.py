"""Features of a split: maps equal a plain forward; published features land at the right sentences."""

import numpy as np
import pytest
import torch

from ikd_fairseq.cli.extract_features import main
from ikd_fairseq.data import feature_extraction
from ikd_fairseq.data.feature_extraction import extract_features, import_features
from ikd_fairseq.data.feature_pack import FeaturePack
from ikd_fairseq.data.image_pack import ImagePackWriter
from ikd_fairseq.errors import IkdError
from ikd_fairseq.io.manifests import text_fingerprint
from ikd_fairseq.vision.frozen_cnn import FrozenCNN

SIZE = 64  # a 2 x 2 grid at stride 32
INDEX = np.array([2, -1, 0, 1, 2], dtype=np.int32)
IMAGES = np.random.default_rng(1).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


@pytest.fixture
def data(tmp_path, write_text_split):
    """A data folder with a split of five sentences."""
    write_text_split(tmp_path, "train", 5)
    return str(tmp_path)


def write_images(data, index=INDEX, images=IMAGES):
    with ImagePackWriter(f"{data}/train", SIZE, index, len(images), "d") as writer:
        for row, image in enumerate(images):
            writer.write(row, image)
        writer.commit({"text": text_fingerprint(data, "train")})


def save(data, array):
    path = f"{data}/published.npy"
    np.save(path, array)
    return path


def test_features_are_the_last_map_row_by_row(data, monkeypatch):
    write_images(data)
    teachers = []

    def keep(*args, **options):
        teachers.append(FrozenCNN(*args, **options))
        return teachers[-1]

    monkeypatch.setattr(feature_extraction, "FrozenCNN", keep)
    torch.manual_seed(1)
    pack = extract_features(data, "train", "efficientnet_lite0", backbone_weights="random", batch_size=2)
    assert (pack.name, pack.regions, pack.channels) == ("efficientnet_lite0", 4, 320)
    assert pack[1] is None

    teacher = teachers[0]
    for sentence, row in enumerate(INDEX):
        if row < 0:
            continue
        # Plainly: scale to -1 ... 1, as this CNN was trained, channels first, one image at a time.
        image = torch.from_numpy(IMAGES[row] / 127.5 - 1.0).float().permute(2, 0, 1).unsqueeze(0)
        with torch.no_grad():
            last = teacher(image)[-1][0]
        for region in range(4):
            expected = last[:, region // 2, region % 2].numpy()
            np.testing.assert_allclose(
                pack[sentence][region], expected, rtol=2e-3, atol=1e-4 * np.abs(last).max()
            )


def test_extraction_needs_an_image_pack_for_this_text(data, write_text_split):
    with pytest.raises(IkdError, match="no image pack .*train.images.npy: run ikd-pack-images first"):
        extract_features(data, "train")
    write_images(data)
    write_text_split(data, "train", 5, length=7)
    with pytest.raises(IkdError, match="another preparation of the text"):
        extract_features(data, "train")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_published_vectors_by_sentence(data, dtype):
    published = np.random.default_rng(1).standard_normal((5, 6)).astype(dtype)
    pack = import_features(data, "train", save(data, published), "own")
    assert (len(pack), pack.regions, pack.channels) == (5, 1, 6)
    for sentence in range(5):
        np.testing.assert_array_equal(pack[sentence], published[sentence].astype(np.float16)[None])
    pack.check_text(data, "train")


def test_published_maps_by_image_follow_the_index(data):
    write_images(data)
    published = np.arange(3 * 4 * 2, dtype=np.float32).reshape(3, 4, 2)
    pack = import_features(data, "train", save(data, published), "own")
    assert (pack.regions, pack.channels) == (4, 2)
    assert pack[1] is None
    np.testing.assert_array_equal(pack[0], published[2])
    np.testing.assert_array_equal(pack[3], published[1])


def test_published_maps_with_channels_first_become_regions_row_by_row(data, monkeypatch):
    monkeypatch.setattr(feature_extraction, "_ROWS_AT_ONCE", 2)
    published = np.arange(5 * 3 * 2 * 4, dtype=np.float32).reshape(5, 3, 2, 4)  # rows x C x H x W
    pack = import_features(data, "train", save(data, published), "own")
    assert (pack.regions, pack.channels) == (8, 3)
    for sentence in range(5):
        for row in range(2):
            for column in range(4):
                expected = published[sentence, :, row, column]
                np.testing.assert_array_equal(pack[sentence][4 * row + column], expected)


def test_more_rows_than_are_read_at_once_stay_in_order(data, monkeypatch):
    monkeypatch.setattr(feature_extraction, "_ROWS_AT_ONCE", 2)
    published = np.arange(5, dtype=np.float32).reshape(5, 1)
    pack = import_features(data, "train", save(data, published), "own")
    assert [pack[sentence].item() for sentence in range(5)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("rows, expected", [("sentences", [0, 1, 2, 3, 4]), ("images", [1, 0, 2, 3, 4])])
def test_rows_that_fit_both_ways_are_asked_about(data, rows, expected):
    write_images(data, np.array([1, 0, 2, 3, 4], dtype=np.int32), np.repeat(IMAGES[:1], 5, axis=0))
    path = save(data, np.arange(5, dtype=np.float32).reshape(5, 1))
    with pytest.raises(
        IkdError, match="5 rows, .*5 sentences and 5 images: .*--rows sentences or --rows images"
    ):
        import_features(data, "train", path, "own")
    pack = import_features(data, "train", path, "own", rows)
    assert [pack[sentence].item() for sentence in range(5)] == expected


def test_rows_that_mean_the_same_both_ways_are_not_asked_about(data):
    write_images(data, np.arange(5, dtype=np.int32), np.repeat(IMAGES[:1], 5, axis=0))
    pack = import_features(data, "train", save(data, np.arange(5.0).reshape(5, 1)), "own")
    assert [pack[sentence].item() for sentence in range(5)] == [0, 1, 2, 3, 4]


def test_rows_that_fit_neither_way_are_refused_with_all_numbers(data):
    path = save(data, np.zeros((4, 2)))
    with pytest.raises(IkdError, match="published.npy has 4 rows, .* 5 sentences and no image pack"):
        import_features(data, "train", path, "own")
    write_images(data)
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
    "options, named",
    [
        (["--from-file", "f.npy"], "--name"),
        (["--rows", "images"], "--from-file"),
        (["--from-file", "f.npy", "--name", "own", "--backbone", "resnet50"], "runs no CNN"),
        (["--name", "a/b"], "--name 'a/b'"),
    ],
)
def test_options_that_contradict_each_other_are_refused(data, options, named, capsys):
    assert main(["--data", data, "--split", "train", *options]) == 1
    assert named in capsys.readouterr().err


def test_the_command_brings_features_in(data):
    path = save(data, np.ones((5, 2)))
    assert not main(["--data", data, "--split", "train", "--from-file", path, "--name", "own"])
    assert FeaturePack.open(f"{data}/train", "own").coverage == 5


def test_a_gpu_that_is_not_there_is_refused(data, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(IkdError, match="--device cuda"):
        extract_features(data, "train", device="cuda")
