"""A user's own file: every way to get it wrong has its own message."""

import pickle
import zipfile

import numpy as np
import pytest

from study.data.npz import load_npz
from study.errors import InputError


def good(**change):
    """Return the arrays of a small good file, some of them changed; None leaves a key out."""
    generator = np.random.default_rng(0)
    arrays = {
        "x_train": generator.integers(0, 256, (12, 9, 8, 3), dtype=np.uint8),
        "y_train": np.arange(12) % 3,
        "x_test": generator.integers(0, 256, (6, 9, 8, 3), dtype=np.uint8),
        "y_test": np.arange(6) % 3,
        "classes": np.array(["cat", "dog", "eel"]),
    }
    return {key: value for key, value in {**arrays, **change}.items() if value is not None}


@pytest.fixture
def write(tmp_path):
    def save(arrays):
        path = tmp_path / "own.npz"
        np.savez_compressed(path, **arrays)
        return path

    return save


def test_a_good_file(write):
    arrays = good(notes=np.array("anything"))
    path = write(arrays)
    source = load_npz(path)
    assert source.name == f"npz:{path}"
    assert (source.shape, source.classes) == ((9, 8, 3), ("cat", "dog", "eel"))
    assert np.array_equal(source.train.images, arrays["x_train"])
    assert np.array_equal(source.train.labels, arrays["y_train"])
    assert np.array_equal(source.test.images, arrays["x_test"])
    assert np.array_equal(source.test.labels, arrays["y_test"])
    assert not source.train.images.flags.writeable


def test_grey_images_without_test_set_and_names(write):
    source = load_npz(write(good(x_train=good()["x_train"][..., 0], x_test=None, y_test=None, classes=None)))
    assert (source.shape, source.test) == ((9, 8, 1), None)
    assert source.classes == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("classes", "expected"),
    [(np.arange(3), ("0", "1", "2")), (np.array([b"cat", b"dog", b"eel"]), ("cat", "dog", "eel"))],
)
def test_names_may_be_numbers_or_bytes(write, classes, expected):
    assert load_npz(write(good(classes=classes))).classes == expected


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.uint64])
def test_labels_may_be_any_whole_numbers(write, dtype):
    source = load_npz(write(good(y_train=(np.arange(12) % 3).astype(dtype))))
    assert source.train.labels.dtype == np.int64


X = good()["x_train"]
LABELS = good()["y_train"]
BAD = {
    "no x_train": ({"x_train": None}, "missing x_train; the file has: y_train, x_test, y_test, classes"),
    "other keys": ({"x_train": None, "images": X}, "the file has: y_train, x_test, y_test, classes, images"),
    "no y_train": ({"y_train": None}, "missing y_train; the file has: x_train"),
    "only x_test": ({"y_test": None}, "x_test and y_test, or neither of them, got only x_test"),
    "only y_test": ({"x_test": None}, "got only y_test"),
    "misspelt key": ({"X_test": X, "x_test": None}, "unknown key 'X_test'; .*did you mean 'x_test'"),
    "float images": ({"x_train": X / 255}, r"x_train: expected uint8 .*got float64 .*\(255 \* x\)\.round\(\)"),
    "int images": ({"x_train": X.astype(np.int32)}, "got int32 .*scale to 0 to 255"),
    "bool images": ({"x_train": X > 99}, r"got bool .*255 \* x"),
    "flat images": ({"x_train": X.reshape(12, -1)}, r"got uint8 \(12, 216\); flat rows must be reshaped"),
    "five axes": ({"x_train": X[None]}, r"expected uint8 \(N, H, W, C\) or \(N, H, W\), got uint8 \(1, 12, 9, 8, 3\)"),
    "transparency": ({"x_train": np.repeat(X[..., :1], 4, -1)}, r"1 \(grey\) or 3 \(RGB\) .*x\[\.\.\., :3\]"),
    "channels first": ({"x_train": X.transpose(0, 3, 1, 2)}, r"x\.transpose\(0, 2, 3, 1\)"),
    "seven channels": ({"x_train": np.repeat(X[..., :1], 7, -1)}, "convert to grey or RGB"),
    "no images": ({"x_train": X[:0], "y_train": LABELS[:0]}, "x_train: expected at least one image"),
    "no test images": ({"x_test": X[:0], "y_test": LABELS[:0]}, "x_test: expected at least one image"),
    "small images": ({"x_train": X[:, :7]}, "at least 8x8 pixels, got 7x8"),
    "test of another size": ({"x_test": good()["x_test"][:, :8]}, r"x_test: expected images of shape \(9, 8, 3\)"),
    "grey test": ({"x_test": good()["x_test"][..., 0]}, r"x_test: .*got \(9, 8, 1\)"),
    "a name that is no text": (
        {"classes": np.array(["cat", "d\ud800g", "eel"])},
        r"names that are text, got 'd\\ud800g'",
    ),
    "maps with an axis": ({"y_train": X[..., :1].astype(int)}, r"label maps \(N, H, W\), got .*; use .squeeze\(-1\)"),
    "maps of ones": ({"y_train": np.ones((12, 2, 9, 8), int)}, r"label maps \(N, H, W\), got .*; one-hot maps"),
    "label maps": ({"y_train": X[..., 0]}, "name for each of the labels 0 to 255, got 3 names"),
    "one-hot labels": ({"y_train": np.eye(3, dtype=int)[LABELS]}, r"\.argmax\(1\)"),
    "labels in a column": ({"y_train": LABELS[:, None]}, r"use \.ravel\(\)"),
    "one label": ({"y_train": np.array(1)}, r"y_train: expected whole numbers \(12,\), got int64 \(\)"),
    "float labels": ({"y_train": LABELS.astype(float)}, r"got float64 \(12,\); use \.astype\(int\)"),
    "names as labels": ({"y_train": np.array(["cat", "dog", "eel"] * 4)}, "names go into classes"),
    "fewer labels": ({"y_train": LABELS[:11]}, "one label an image, 12 as in x_train, got 11"),
    "negative labels": ({"y_train": LABELS - 1}, "at least 0, got -1"),
    "huge labels": ({"y_train": LABELS.astype(np.uint64) + np.uint64(2**63)}, "K at most 100000"),
    "gap": ({"y_train": LABELS * 2, "classes": None}, "every label 0 to 4 .*no image of 2 of them, the first: 1"),
    "wide gap": ({"y_train": LABELS * 40_000, "classes": None}, "no image of 79998 of them, the first: 1"),
    "from one": ({"y_train": LABELS + 1, "classes": None}, "the first: 0; number the classes without gaps"),
    "more names": ({"classes": np.array(["cat", "dog", "eel", "fox"])}, r"no image of 1 of them, the first: 3 \(fox\)"),
    "fewer names": (
        {"classes": np.array(["cat", "dog"])},
        "name for each of the labels 0 to 2, got 2 names: cat, dog",
    ),
    "float names": ({"classes": np.array([0.0, 1.0, 2.0])}, r"classes: expected a list of names, .*got float64"),
    "one name": ({"classes": np.array("cat dog eel")}, "classes: expected a list of names"),
    "same names": ({"classes": np.array(["cat", "cat", "eel"])}, "more than once: cat"),
    "object names": ({"classes": np.array(["cat", None, "eel"])}, "never loaded; save it as .*dtype=str"),
    "object images": ({"x_train": np.array([X[0], X[1][:5]], dtype=object)}, "never loaded; .*numpy.stack"),
    "one class": ({"y_train": LABELS * 0}, "at least two classes, got only label 0"),
    "unknown test label": ({"y_test": np.array([0, 1, 2, 3, 7, 7])}, "y_test: .* 0 to 2, got also: 3, 7"),
    "negative test label": ({"y_test": np.array([0, 1, 2, -1, 0, 0])}, "y_test: .*at least 0, got -1"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD.keys())
def test_bad_content(write, change, message):
    path = write(good(**change))
    with pytest.raises(InputError, match=message) as caught:
        load_npz(path)
    assert str(path) in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_empty_archive(tmp_path):
    np.savez(tmp_path / "own.npz")
    with pytest.raises(InputError, match="missing x_train, y_train; the file has: nothing"):
        load_npz(tmp_path / "own.npz")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz: expected a NumPy archive .*got no such file"):
        load_npz(tmp_path / "none.npz")
    with pytest.raises(InputError, match="got a folder"):
        load_npz(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more", pickle.dumps({"x_train": X})])
def test_other_formats(tmp_path, content):
    path = tmp_path / "own.npz"
    path.write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as one"):
        load_npz(path)


def test_a_single_array(tmp_path):
    np.save(tmp_path / "own.npy", X)
    with pytest.raises(InputError, match="got a single array"):
        load_npz(tmp_path / "own.npy")


def test_a_text_file_inside(tmp_path):
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train", "hello")
        archive.writestr("y_train", "hello")
    with pytest.raises(InputError, match="another kind of file"):
        load_npz(path)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (f"({10**15}, 28, 28)", "x_train: expected an array that fits into memory"),
        (f"({10**30},)", "x_train: the file is damaged"),
        ("(-1,)", "x_train: the file is damaged"),
        ("(10**3,)", "x_train: the file is damaged"),
        ("(1, 2", "x_train: the file is damaged"),
        ("(100,)", "x_train: the file is damaged or cut short"),
    ],
)
def test_headers_that_promise_what_is_not_there(tmp_path, shape, message):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    header += b" " * (64 - (len(header) + 11) % 64) + b"\n"
    path = tmp_path / "own.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x_train.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(InputError, match=message):
        load_npz(path)


def test_damaged_files_are_input_errors_or_still_good(write):
    path = write(good())
    whole = path.read_bytes()
    generator = np.random.default_rng(0)
    refused = 0
    for trial in range(150):
        if trial % 3 == 0:
            damaged = whole[: generator.integers(len(whole))]
        else:
            changed = bytearray(whole)
            for place in generator.integers(len(whole), size=1 + trial % 5):
                changed[place] ^= 1 << generator.integers(8)
            damaged = bytes(changed)
        path.write_bytes(damaged)
        try:
            load_npz(path)
        except InputError:
            refused += 1
    assert refused > 75
