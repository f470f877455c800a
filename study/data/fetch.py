"""Files of a named data set: fetched once a node, resumed where a connection was cut, checked, and unpacked.

    DATA_DIR/…/archive.tar.gz.part   what has arrived; a later attempt asks the server for the rest (HTTP Range)
    DATA_DIR/…/archive.tar.gz        the whole file, its MD5 as torchvision states it
    DATA_DIR/…/what it unpacks to    appears whole: unpacked beside, then renamed

Nothing in an archive is written outside of the folder that it is unpacked to: a name that leads out of it is refused.
"""

import gzip
import hashlib
import http.client
import lzma
import shutil
import sys
import tarfile
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from study.data.catalogue import File
from study.data.locks import held
from study.errors import InputError

CHUNK = 2**20
TIMEOUT = 60.0
"""Seconds without an answer after which a connection is given up."""
ATTEMPTS = 5
"""Connections in a row that may bring nothing before a file is given up."""
SHOW_SECONDS = 5.0
AGENT = {"User-Agent": "hem-study"}
BROKEN_NET = (urllib.error.URLError, http.client.HTTPException, OSError, ValueError)
BROKEN_ARCHIVE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    NotImplementedError,
    KeyError,
)


class FetchError(Exception):
    """A file could not be had; the message says why, in a line."""


def is_there(files: Iterable[File], data_dir: Path) -> bool:
    """Say whether nothing has to be fetched or unpacked."""
    return all(_ready(file, data_dir) for file in files)


def ensure(name: str, files: Iterable[File], data_dir: Path, *, again: bool = False) -> None:
    """Fetch and unpack whatever is missing.

    Args:
        name: of the data set, for messages.
        files: what it needs.
        data_dir: where to.
        again: unpack (and if need be fetch) what is there, too: something in it is damaged.

    Raises:
        InputError: a file cannot be had or unpacked; one line says what is missing, where it comes from, and where to
            put it by hand.
    """
    for file in files:
        if not again and _ready(file, data_dir):
            continue
        folder = data_dir / file.folder
        missing = folder / (file.gives[0] if file.gives else file.name)
        try:
            with held(folder / file.name):
                if again or not _ready(file, data_dir):
                    download(file.urls, file.md5, folder / file.name)
                    unpack(file, folder)
        except (FetchError, InputError) as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"{name}: {missing} is missing or damaged and {file.urls[0]} could not be fetched ({reason}); "
                f"by hand: put {file.name} from there into {folder}"
            ) from error


def _ready(file: File, data_dir: Path) -> bool:
    folder = data_dir / file.folder
    if file.gives:
        return all((folder / given).exists() for given in file.gives)
    return (folder / file.name).is_file() and md5_of(folder / file.name) == file.md5


def md5_of(path: Path) -> str:
    """Return the MD5 of a file, in hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def download(urls: Iterable[str], md5: str, path: Path) -> None:
    """Fetch a file unless it is there; go on with PATH.part if there is one.

    Args:
        urls: where it is; they are tried in turn.
        md5: of the file.
        path: where to.

    Raises:
        FetchError: no address gives it, or what comes has another checksum.
    """
    if path.is_file() and md5_of(path) == md5:
        return
    reasons = []
    for url in urls:
        try:
            _whole(url, path.with_name(f"{path.name}.part"), md5)
        except (FetchError, *BROKEN_NET) as error:
            text = " ".join(str(getattr(error, "reason", error) or error).split()) or type(error).__name__
            reasons.append(text)
            continue
        path.with_name(f"{path.name}.part").replace(path)
        return
    raise FetchError("; ".join(dict.fromkeys(reasons)))


def _whole(url: str, part: Path, md5: str) -> None:
    """Fill a .part file until it is whole and right; what was there before is used, unless it turns out to be wrong."""
    resumed = _size(part) > 0
    _fill(url, part)
    found = md5_of(part)
    if found != md5 and resumed:
        part.unlink()
        _fill(url, part)
        found = md5_of(part)
    if found != md5:
        part.unlink()
        raise FetchError(f"wrong checksum: expected MD5 {md5}, got {found}")


def _fill(url: str, part: Path) -> None:
    """Fetch the rest of a file; a cut connection is taken up again as long as each brings something."""
    barren = 0
    while True:
        before, cut = _size(part), None
        try:
            if _rest(url, part, before):
                return
        except urllib.error.HTTPError:
            raise
        except BROKEN_NET as error:
            cut = error
        after = _size(part)
        barren = 0 if after > before else barren + 1
        if barren >= ATTEMPTS or not after:
            raise cut or FetchError(f"the connection was cut after {after:,} bytes, {barren} times")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _rest(url: str, part: Path, start: int) -> bool:
    """Append what follows byte `start`; say whether the file is whole then.

    A server that does not know ranges sends all of it, and the file is begun anew.
    """
    request = urllib.request.Request(url, headers={**AGENT, **({"Range": f"bytes={start}-"} if start else {})})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()
        if start and error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing follows: its checksum will say whether that is the end
        raise
    with answer:
        if start and (
            answer.status != http.client.PARTIAL_CONTENT
            or not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        ):
            start = 0
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length else None
        with part.open("ab" if start else "wb") as file:
            shown = _Shown(PurePosixPath(url).name, total)
            while chunk := answer.read(CHUNK):
                file.write(chunk)
                shown.at(file.tell())
        shown.end()
        return total is None or _size(part) >= total


class _Shown:
    """How far a download is, on stderr: a line that moves on a terminal, else one every few seconds."""

    def __init__(self, name: str, total: int | None) -> None:
        self.name, self.total, self.terminal = name, total, sys.stderr.isatty()
        self.last, self.lines = time.monotonic(), 0

    def at(self, size: int) -> None:
        """Tell it."""
        now = time.monotonic()
        if now - self.last < (0.2 if self.terminal else SHOW_SECONDS):
            return
        self.last, self.lines = now, self.lines + 1
        of = f" of {self.total / 1e6:,.0f}" if self.total else ""
        text = f"{self.name}: {size / 1e6:,.0f}{of} MB"
        print(f"\r{text}" if self.terminal else text, end="" if self.terminal else "\n", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line."""
        if self.terminal and self.lines:
            print(file=sys.stderr)


def unpack(file: File, folder: Path) -> None:
    """Unpack an archive that lies in a folder; what it gives appears whole, in the place of what was there.

    Raises:
        FetchError: the archive is damaged, leads out of its folder, or does not hold what it should.
    """
    if not file.unpack:
        return
    prefix = f".{file.name}."
    for leftover in folder.glob(f"{prefix}*"):  # of an attempt that was killed: the caller holds the file's lock
        shutil.rmtree(leftover, ignore_errors=True)
    beside = Path(tempfile.mkdtemp(dir=folder, prefix=prefix))
    try:
        _extract(folder / file.name, file.unpack, beside)
        for inner in file.inner:
            _extract(beside / inner, "gz" if "".join(Path(inner).suffixes[-2:]) != ".tar.gz" else "tar", beside)
        for given in file.gives:
            if not (beside / given).exists():
                raise FetchError(f"{file.name} does not hold {given}")
            target = folder / given
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.exists():
                target.rename(beside / "damaged")
            (beside / given).rename(target)
            shutil.rmtree(beside / "damaged", ignore_errors=True)
    except BROKEN_ARCHIVE as error:
        raise FetchError(f"{file.name} cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _extract(archive: Path, kind: str, folder: Path) -> None:
    if kind == "gz":
        with gzip.open(archive) as packed, (folder / archive.stem).open("wb") as plain:
            shutil.copyfileobj(packed, plain, CHUNK)
    elif kind == "tar":
        with tarfile.open(archive) as packed:
            names = (*(m.name for m in packed.getmembers()), *(m.linkname for m in packed.getmembers() if m.islnk()))
            _check_names(archive, names)
            packed.extractall(folder, filter="data")
    else:
        with zipfile.ZipFile(archive) as packed:
            _check_names(archive, packed.namelist())
            packed.extractall(folder)


def _check_names(archive: Path, names: Iterable[str]) -> None:
    """Raise FetchError for names that lead out of the folder."""
    for name in names:
        path = PurePosixPath(name.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
            raise FetchError(f"{archive.name} is refused: it would write outside of its folder: {name!r}")
