"""What is found in a user's folders: parts by their names, links, and what would be found twice or not at all."""

import errno
import os

import pytest

from study.data.listing import list_folder, list_masks
from study.errors import InputError


def files(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize("names", [("Train", "Val", "Test"), ("Training", "validation", "TESTING")])
def test_names_of_parts_may_have_capitals(tmp_path, names):
    train, validation, test = names
    root = files(tmp_path / "own", *(f"{part}/{name}/0.png" for part in names for name in ("cat", "dog")))
    found = list_folder(root)
    assert found.classes == ("cat", "dog")
    assert [os.path.relpath(path, root) for path in found.train.images] == [
        *(f"{train}/cat/0.png", f"{train}/dog/0.png", f"{validation}/cat/0.png", f"{validation}/dog/0.png")
    ]
    assert [os.path.relpath(path, root) for path in found.test.images] == [f"{test}/cat/0.png", f"{test}/dog/0.png"]
    (root / train).rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=f"expected a folder train beside {validation}, {test}, got none"):
        list_folder(root)


def test_names_of_parts_with_masks_may_have_capitals(tmp_path):
    root = files(tmp_path, *(f"{part}/{kind}/0.png" for part in ("Train", "Test") for kind in ("images", "masks")))
    found = list_masks(root)
    assert (len(found.train.images), len(found.test.images)) == (1, 1)


def test_parts_may_lie_in_the_folders_of_images_and_of_masks(tmp_path):
    names = [
        f"{kind}/{part}/{part}{i}.png" for kind in ("images", "masks") for part in ("train", "val") for i in (0, 1)
    ]
    root = files(tmp_path / "own", *names)
    found = list_masks(root)
    for part, name in ((found.train, "train"), (found.test, "val")):
        for files_of_part, kind in ((part.images, "images"), (part.maps, "masks")):
            assert [os.path.relpath(path, root) for path in files_of_part] == [
                os.path.join(kind, name, f"{name}{i}.png") for i in (0, 1)
            ]
    (root / "masks" / "val" / "val1.png").unlink()
    with pytest.raises(InputError, match="same names in images/val and masks/val, got only in images/val: val1"):
        list_masks(root)
    (root / "masks" / "val").rename(root / "masks" / "other")
    with pytest.raises(InputError, match="expected the folders images/val and masks/val, got no masks/val"):
        list_masks(root)


def test_folders_of_images_that_are_no_parts_are_one_set(tmp_path):
    root = files(tmp_path, *(f"{kind}/{part}/0.png" for kind in ("images", "masks") for part in ("train", "berlin")))
    assert (len(list_masks(root).train.images), list_masks(root).test) == (2, None)


@pytest.mark.parametrize("pair", [("Train", "train"), ("val", "valid")])
def test_two_folders_of_one_part_are_refused(tmp_path, pair):
    parts = {*pair, "train"}
    root = files(tmp_path / "own", *(f"{part}/{name}/0.png" for part in parts for name in ("cat", "dog")))
    with pytest.raises(InputError, match=f"own: expected one folder for each part, got {pair[0]}, {pair[1]}"):
        list_folder(root)
    for kind in ("images", "masks"):
        files(tmp_path / "maps", *(f"{kind}/{part}/0.png" for part in parts))
    with pytest.raises(InputError, match=f"images: expected one folder for each part, got {pair[0]}, {pair[1]}"):
        list_masks(tmp_path / "maps")


def test_links_are_followed(tmp_path):
    root = files(tmp_path / "own", "cat/0.png", "dog/0.png")
    files(tmp_path / "store", "eel/0.png", "eel/deep/1.png")
    (root / "eel").symlink_to(tmp_path / "store" / "eel")
    (root / "cat" / "more").symlink_to("../dog")
    found = list_folder(root)
    assert found.classes == ("cat", "dog", "eel")
    assert [int((found.train.labels == c).sum()) for c in range(3)] == [2, 1, 2]


@pytest.mark.parametrize("links", [{"cat/again": "."}, {"cat/up": ".."}, {"cat/a": ".", "cat/b": "."},
                                   {"cat/x": "../dog", "dog/y": "../cat"}])  # fmt: skip
def test_a_link_to_a_folder_that_holds_it_is_refused(tmp_path, links):
    root = files(tmp_path / "own", "cat/0.png", "dog/0.png", "catalogue/0.png")
    for name, target in links.items():
        (root / name).symlink_to(target)
    with pytest.raises(InputError, match=r"cat/.*: expected a folder that ends somewhere, got a link to .*own"):
        list_folder(root)


def test_a_folder_that_cannot_be_read_is_not_left_out(tmp_path, monkeypatch):
    root, real = files(tmp_path, "cat/0.png", "cat/deep/1.png", "dog/0.png"), os.scandir

    def scan(path):
        if os.path.basename(path) == "deep":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scan)
    with pytest.raises(PermissionError, match=r"Permission denied: '.*deep'"):
        list_folder(root)


@pytest.mark.parametrize("name", ["👩\u200d🔬", "می\u200cخواهم", "a\u00a0b"])
def test_names_with_joiners_and_hard_spaces_are_text(tmp_path, name):
    assert list_folder(files(tmp_path, f"{name}/0.png", "~/0.png")).classes == tuple(sorted((name, "~")))


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m"])
def test_names_with_control_characters_are_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"names of folders that are text, got 'a\\"):
        list_folder(files(tmp_path, f"{name}/0.png", "b/0.png"))
