"""A user's own folders: files of every kind, what is wrong with them by name, and the cache that keeps them decoded."""

import errno
import os
import pickle
import threading

import numpy as np
import pytest
from PIL import Image

from study.data import kept
from study.data.decode import UnreadableError, cover_box, read_header, read_image, read_map
from study.data.registry import cut_defaults, load_source
from study.data.tail import cut_imbalanced
from study.data.types import IGNORED
from study.errors import InputError


def picture(height=8, width=8, seed=0, channels=3):
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (height, width, channels), dtype=np.uint8).squeeze()


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def folder_of(root, counts=(("cat", 3), ("dog", 2)), **shape):
    for c, (name, count) in enumerate(counts):
        for i in range(count):
            save(root / name / f"{i}.png", picture(seed=100 * c + i, **shape))
    return root


def load(root, tmp_path, kind="folder", **options):
    return load_source(f"{kind}:{root}", tmp_path / "data", **options)


def test_a_folder_of_one_size_comes_as_it_is(tmp_path):
    root = folder_of(tmp_path / "own", height=9, width=11)
    source = load(root, tmp_path)
    assert source.name == f"folder:{root}"
    assert (source.shape, source.classes, source.test) == ((9, 11, 3), ("cat", "dog"), None)
    assert list(source.train.labels) == [0, 0, 0, 1, 1]
    expected = [picture(9, 11, seed) for seed in (0, 1, 2, 100, 101)]
    assert np.array_equal(source.train.images, expected)
    assert not source.train.images.flags.writeable
    assert cut_defaults(source).ratio == 10.0


def test_train_val_and_test(tmp_path):
    root = tmp_path / "own"
    for part, count in (("train", 2), ("val", 1), ("test", 1)):
        folder_of(root / part, (("a", count), ("b", count)))
    source = load(root, tmp_path)
    assert (len(source.train), len(source.test)) == (6, 2)  # validation images are cut anew, so val joins train
    assert list(source.train.labels) == [0, 0, 1, 1, 0, 1]
    (root / "test").rename(tmp_path / "elsewhere")
    source = load(root, tmp_path)
    assert (len(source.train), len(source.test)) == (4, 2)


def test_a_class_named_train_is_a_class(tmp_path):
    source = load(folder_of(tmp_path / "own", (("bus", 1), ("train", 1))), tmp_path)
    assert source.classes == ("bus", "train")


def test_names_beyond_ascii_and_folders_within_classes(tmp_path):
    root = folder_of(tmp_path / "bilder ✓", (("Äpfel", 1), ("梨", 1)))
    save(root / "Äpfel" / "mehr" / "ü.PNG", picture(seed=7))
    save(root / "Äpfel" / ".hidden.png", picture())
    (root / "Äpfel" / "notes.txt").write_text("no image")
    source = load(root, tmp_path)
    assert source.classes == ("Äpfel", "梨")
    assert source.train.counts(2) == (2, 1)


def test_mixed_sizes_and_larger_ones_get_the_default_or_what_is_asked_for(tmp_path):
    root = folder_of(tmp_path / "own")
    save(root / "cat" / "large.png", picture(20, 40))
    assert load(root, tmp_path).shape == (64, 64, 3)
    assert load(root, tmp_path, image_size=16).shape == (16, 16, 3)
    assert load(folder_of(tmp_path / "big", height=257), tmp_path).shape == (64, 64, 3)


def test_the_middle_is_cut_out():
    assert cover_box(20, 40, (10, 10)) == (10, 0, 30, 20)
    assert cover_box(40, 20, (10, 10)) == (0, 10, 20, 30)
    assert cover_box(8, 8, (16, 16)) == (0, 0, 8, 8)


def test_a_wide_image_loses_its_sides(tmp_path):
    pixels = np.zeros((10, 30), np.uint8)
    pixels[:, 10:20] = 200
    middle = read_image(save(tmp_path / "a.png", pixels), (5, 5), 1)[..., 0]
    assert (middle[:, 1:4] == 200).all()  # the outermost pixels average over a little of what is cut off
    assert (middle[:, [0, 4]] >= 170).all()


def test_kinds_of_pixels(tmp_path):
    grey = np.full((8, 8), 100, np.uint8)
    wide = save(tmp_path / "16.png", Image.fromarray(grey.astype(np.uint16) * 257))
    assert read_header(wide) == (8, 8, True)
    assert (read_image(wide, (8, 8), 1) == 100).all()

    levels = np.where(np.eye(8), 1000, 257 * 7).astype(np.uint16)
    Image.fromarray(levels).save(tmp_path / "clear.png", transparency=1000)
    assert (read_image(tmp_path / "clear.png", (8, 8), 1)[..., 0] == np.where(np.eye(8), 255, 7)).all()

    half = np.zeros((8, 8, 4), np.uint8)  # red at alpha 51 of 255: a fifth red, four fifths white
    half[...] = (255, 0, 0, 51)
    clear = save(tmp_path / "rgba.png", half)
    assert read_image(clear, (8, 8), 3)[0, 0].tolist() == [255, 204, 204]

    cmyk = save(tmp_path / "cmyk.jpg", Image.new("CMYK", (8, 8), (0, 0, 0, 0)))
    assert (read_image(cmyk, (8, 8), 3) >= 250).all()
    assert not read_header(cmyk).grey

    palette = Image.fromarray(np.stack([grey, grey // 2, grey * 0], -1)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert read_image(save(tmp_path / "p.png", palette), (8, 8), 3)[0, 0].tolist() == [100, 50, 0]

    reason = "expected whole grey levels"
    with pytest.raises(UnreadableError, match=reason):
        read_header(save(tmp_path / "f.tif", Image.fromarray(grey.astype(np.float32))))


@pytest.mark.parametrize("kind", ["png", "tif"])
def test_a_photograph_taken_upright(tmp_path, kind):
    pixels = np.zeros((8, 16), np.uint8)
    pixels[:, :8] = 255  # left half light; turned by a quarter to the right: the upper half
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / f"turned.{kind}", pixels, exif=exif)
    assert read_header(path) == (16, 8, True)
    image = read_image(path, (16, 8), 1)[..., 0]
    assert (image[:8] == 255).all()
    assert (image[8:] == 0).all()


def test_grey_and_coloured_files_together_are_coloured(tmp_path):
    root = folder_of(tmp_path / "own", channels=1)
    assert load(root, tmp_path).shape == (8, 8, 1)
    save(root / "dog" / "colour.png", picture())
    source = load(root, tmp_path)
    assert source.shape == (8, 8, 3)
    assert np.array_equal(source.train.images[0], np.repeat(picture(channels=1)[..., None], 3, -1))


def test_a_large_jpeg_is_close_to_its_whole_decoding(tmp_path):
    ramp = np.tile(np.linspace(0, 255, 1024).astype(np.uint8), (1024, 1))
    path = save(tmp_path / "large.jpg", ramp, quality=95)
    expected = ramp.reshape(16, 64, 16, 64).mean((1, 3))
    assert np.abs(read_image(path, (16, 16), 1)[..., 0] - expected).max() <= 3


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_damaged_files_are_named(tmp_path, content):
    root = folder_of(tmp_path / "own", height=32, width=32)
    bad = root / "cat" / "1.png"
    bad.write_bytes(bad.read_bytes()[:-1200] if content is None else content)
    with pytest.raises(InputError) as caught:
        load(root, tmp_path)
    assert str(caught.value).startswith("1 of 5 files cannot be used\n")
    assert f"{bad}: " in str(caught.value)
    assert [path.name for path in (tmp_path / "data" / "decoded").iterdir() if path.is_dir()] == []


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow warns of some damage and goes on
@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp", "ppm"])
def test_any_damage_is_named_or_harmless(tmp_path, kind):
    exif = {"exif": Image.Exif()} if kind in ("png", "jpeg", "webp") else {}
    if exif:
        exif["exif"][0x0112], exif["exif"][0x010E] = 6, "a street"
    whole = save(tmp_path / f"a.{kind}", picture(20, 28), **exif).read_bytes()
    generator, refused = np.random.default_rng(0), 0
    for trial in range(60):
        damaged = bytearray(whole[: generator.integers(len(whole))] if trial % 3 == 0 else whole)
        for _ in range(trial % 5 if damaged else 0):
            damaged[generator.integers(min(len(damaged), 300))] ^= 1 << int(generator.integers(8))
        (tmp_path / "damaged").write_bytes(damaged)
        try:
            read_header(tmp_path / "damaged")
            read_image(tmp_path / "damaged", (8, 8), 3)
        except UnreadableError:
            refused += 1
    assert refused > 10


def test_only_the_first_damaged_files_are_listed(tmp_path):
    root = folder_of(tmp_path / "own", (("a", 9), ("b", 1)))
    for i in range(9):
        (root / "a" / f"{i}.png").write_bytes(b"")
    with pytest.raises(InputError) as caught:
        load(root, tmp_path)
    lines = str(caught.value).splitlines()
    assert len(lines) == 7
    assert lines[-1] == "and 4 more"


def test_folders_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"none: expected a folder, got no such folder"):
        load(tmp_path / "none", tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="got a file"):
        load(tmp_path / "file", tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="a folder for each class, at least two, got none"):
        load(tmp_path / "empty", tmp_path)
    with pytest.raises(InputError, match="at least two, got cat"):
        load(folder_of(tmp_path / "one", (("cat", 1),)), tmp_path)
    root = folder_of(tmp_path / "own")
    (root / "eel").mkdir()
    (root / "fox").mkdir()
    with pytest.raises(InputError, match="images in every class folder, got none in: eel, fox"):
        load(root, tmp_path)
    parted = folder_of(tmp_path / "parted" / "train").parent
    folder_of(parted / "test", (("cat", 1), ("gnu", 1)))
    with pytest.raises(InputError, match=r"test: expected the classes of .*train, got also: gnu"):
        load(parted, tmp_path)
    folder_of(tmp_path / "trainless" / "test")
    folder_of(tmp_path / "trainless" / "val")
    with pytest.raises(InputError, match="expected a folder train beside val, test"):
        load(tmp_path / "trainless", tmp_path)


def test_a_name_that_is_no_text(tmp_path):
    root = folder_of(tmp_path / "own")
    os.rename(os.fsencode(root / "cat"), os.fsencode(root) + b"/c\xe4t")
    with pytest.raises(InputError, match=r"names of folders that are text, got 'c\\udce4t'"):
        load(root, tmp_path)


def test_a_class_with_too_few_images_is_named(tmp_path):
    source = load(folder_of(tmp_path / "own", (("cat", 9), ("dog", 2))), tmp_path)
    with pytest.raises(InputError, match="class 'dog' has 2 images and needs 3"):
        cut_imbalanced(source, split_seed=0, order_seed=None, ratio=None, test_per_class=None,
                       validation_per_class=None)  # fmt: skip


def test_decoded_once(tmp_path, monkeypatch):
    root = folder_of(tmp_path / "own")
    first = load(root, tmp_path)
    decodings = []
    monkeypatch.setattr(kept, "read_image", lambda *_: decodings.append(_) or pytest.fail("decoded again"))
    again = load(root, tmp_path)
    assert again.fingerprint() == first.fingerprint()
    assert isinstance(again.train.images.base, np.memmap) or again.train.images.base is not None
    monkeypatch.undo()
    os.utime(root / "cat" / "0.png", ns=(1, 1))
    assert load(root, tmp_path).kept.folder != first.kept.folder
    moved = root.rename(tmp_path / "moved")
    assert load(moved, tmp_path).fingerprint() == first.fingerprint()


def test_a_damaged_cache_is_made_again(tmp_path):
    root = folder_of(tmp_path / "own")
    first = load(root, tmp_path)
    path = first.kept.folder / "train_images.npy"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    again = load(root, tmp_path)
    assert np.array_equal(again.train.images[-1], picture(seed=101))
    (again.kept.folder / "train_labels.npy").unlink()
    assert load(root, tmp_path).fingerprint() == first.fingerprint()
    assert {path.suffix for path in again.kept.folder.parent.iterdir()} <= {"", ".lock"}


def test_two_at_once_decode_once(tmp_path, monkeypatch):
    root = folder_of(tmp_path / "own")
    calls, real, both = [], kept._make, threading.Barrier(2)
    monkeypatch.setattr(kept, "_make", lambda *arguments: (calls.append(1), real(*arguments)))
    found = []

    def ask():
        both.wait()
        found.append(load(root, tmp_path).fingerprint())

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(calls) == 1
    assert len(set(found)) == 1
    assert len(found) == 2


def test_a_folder_that_cannot_be_written_to(tmp_path):
    root = folder_of(tmp_path / "own")
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match=r"a folder that can be written to.*\nchoose another --data-dir"):
        load(root, tmp_path)


def test_room_is_taken_before_images_are_stored(tmp_path, monkeypatch):
    """A store into a mapped file on a full disk would be a signal that ends the process without a word."""
    root, taken = folder_of(tmp_path / "own"), {}
    real = os.posix_fallocate

    def full(number, start, size):
        real(number, start, size)
        taken[os.path.basename(os.readlink(f"/proc/self/fd/{number}"))] = (start, size)
        if len(taken) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(kept, "read_image", lambda *_: pytest.fail("stored before there was room"))
    with pytest.raises(InputError, match=r"data/decoded: decoded images cannot be kept there: No space left"):
        load(root, tmp_path)
    assert taken == {"train_images.npy": (0, 128 + 5 * 8 * 8 * 3), "train_labels.npy": (0, 128 + 5 * 8)}
    assert {path.suffix for path in (tmp_path / "data" / "decoded").iterdir()} == {".lock"}


def test_what_is_sent_is_the_place_and_not_the_images(tmp_path):
    source = load(folder_of(tmp_path / "own", (("cat", 40), ("dog", 40)), height=64, width=64), tmp_path)
    sent = pickle.dumps(source, protocol=5)
    assert len(sent) < 2000 < source.train.images.nbytes
    there = pickle.loads(sent)
    assert there.fingerprint() == source.fingerprint()
    assert np.array_equal(there.train.images, source.train.images)
    assert there.kept == source.kept


def test_where_the_cache_is_not_it_is_loaded_again_by_name_or_refused(tmp_path):
    root = folder_of(tmp_path / "own")
    source = load(root, tmp_path)
    sent = pickle.dumps(source)
    for path in source.kept.folder.iterdir():
        path.unlink()
    source.kept.folder.rmdir()
    assert pickle.loads(sent).fingerprint() == source.fingerprint()
    (root / "cat" / "0.png").unlink()
    for path in source.kept.folder.iterdir():
        path.unlink()
    with pytest.raises(
        InputError, match=r"(?s)cannot be read on .*has other images there\n.*--data-dir that all nodes"
    ):
        pickle.loads(sent)
    root.rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"(?s)cannot be loaded there: .*expected a folder, got no such folder"):
        pickle.loads(sent)


def masks_of(root, count=4, size=(8, 16), classes=2, parts=("",)):
    for part in parts:
        for i in range(count):
            generator = np.random.default_rng(i)
            save(root / part / "images" / f"{i}.jpg", picture(*size, seed=i))
            labels = generator.integers(0, classes, size, dtype=np.uint8)
            labels[0, 0] = 255
            save(root / part / "masks" / f"{i}.png", labels)
    return root


def test_a_label_beyond_what_is_kept_is_named(tmp_path):
    root = masks_of(tmp_path / "own")
    save(root / "masks" / "2.png", np.full((8, 16), 40_000, dtype=np.uint16))
    with pytest.raises(InputError, match=r"2\.png: expected labels up to 32767, got 40000"):
        load(root, tmp_path, "masks")


def test_label_maps(tmp_path):
    root = masks_of(tmp_path / "own", classes=3)
    (root / "classes.txt").write_text("Grund\nRiß\nFleck\n", encoding="utf-8")
    source = load(root, tmp_path, "masks")
    assert (source.shape, source.classes, source.is_map) == ((8, 16, 3), ("Grund", "Riß", "Fleck"), True)
    expected = np.random.default_rng(2).integers(0, 3, (8, 16), dtype=np.uint8).astype(int)
    expected[0, 0] = IGNORED
    assert np.array_equal(source.train.labels[2], expected)
    with pytest.raises(InputError, match=r"one label an image, got label maps\nallowed: --task segmentation"):
        cut_imbalanced(source, split_seed=0, order_seed=None, ratio=None, test_per_class=None,
                       validation_per_class=None)  # fmt: skip


def test_label_maps_in_parts_without_names(tmp_path):
    source = load(masks_of(tmp_path / "own", parts=("train", "val", "test")), tmp_path, "masks")
    assert (len(source.train), len(source.test), source.classes) == (8, 4, ("class 0", "class 1"))


def test_a_map_is_cut_and_resized_as_its_image(tmp_path):
    labels = np.zeros((8, 16), np.uint8)
    labels[:, 4:8], labels[:, 8:12] = 1, 2
    palette = Image.fromarray(labels)
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    path = save(tmp_path / "map.png", palette)
    assert read_map(path, (4, 4), (8, 16)).tolist() == [[1, 1, 2, 2]] * 4
    assert read_map(path, (4, 4), (8, 16), {0: 5, 1: IGNORED, 2: 0}).tolist() == [[IGNORED, IGNORED, 0, 0]] * 4
    with pytest.raises(UnreadableError, match="expected values 0, 1, got 2"):
        read_map(path, (4, 4), (8, 16), {0: 0, 1: 1})
    with pytest.raises(UnreadableError, match="of its image's size, 16x8, got 8x16"):
        read_map(path, (4, 4), (16, 8))


def test_maps_that_cannot_be_used(tmp_path):
    def refused(change, message):
        root = masks_of(tmp_path / f"{len(list(tmp_path.iterdir()))}")
        change(root)
        with pytest.raises(InputError, match=message):
            load(root, tmp_path, "masks")

    refused(lambda root: (root / "masks" / "1.png").unlink(), "got only in images: 1$")
    refused(lambda root: (root / "images" / "1.jpg").unlink(), "got only in masks: 1$")
    refused(lambda root: save(root / "masks" / "1.png", picture(8, 16)), r"1\.png: .*or a palette, got mode RGB")
    refused(lambda root: save(root / "masks" / "1.png", np.zeros((8, 8), np.uint8)), r"1\.png: .*8x16, got 8x8")
    blank = np.full((8, 16), 255, np.uint8)
    refused(lambda root: save(root / "masks" / "1.png", blank), r"1\.png: expected a labelled pixel")
    refused(lambda root: (root / "classes.txt").write_text("a\nb\nc"), "images of every class, got none of: c")
    refused(lambda root: (root / "classes.txt").write_text("a\na"), "more than once: a")
    refused(lambda root: (root / "masks").rename(root / "maps"), "folders images and masks, got no masks")
    refused(lambda root: save(root / "images" / "1.png", picture(8, 16)), "expected one file a name")

    def black_and_white(root):
        for path in (root / "masks").iterdir():
            save(path, np.where(np.arange(128).reshape(8, 16) % 2, 255, 0).astype(np.uint8))

    refused(black_and_white, "255 means no label; write 1 for the foreground")
    refused(
        lambda root: (black_and_white(root), (root / "classes.txt").write_text("ground\nroad")),
        "255 means no label; write 1 for the foreground",
    )
