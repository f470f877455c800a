"""The downloader against a server on this machine: resuming, checksums, one download for two, hostile archives."""

import gzip
import hashlib
import io
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from study.data import fetch
from study.data.catalogue import File
from study.errors import InputError

CONTENT = np.random.default_rng(0).bytes(300_000)


def md5(raw):
    return hashlib.md5(raw).hexdigest()


class Server(ThreadingHTTPServer):
    """Gives files, with ranges if it should, and cuts a connection off after some bytes as often as it should."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.ranges, self.cuts, self.asked = {}, True, [], []

    def url(self, name):
        return f"http://127.0.0.1:{self.server_port}/{name}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        raw = self.server.files.get(self.path[1:])
        wanted = self.headers.get("Range")
        self.server.asked.append((self.path[1:], wanted))
        if raw is None:
            self.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.server.ranges else 0
        if start >= len(raw):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(raw) - 1}/{len(raw)}")
        self.send_header("Content-Length", str(len(raw) - start))
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        self.wfile.write(raw[start:] if cut is None else raw[start : start + cut])

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def server():
    made = Server()
    made.files["a.bin"] = CONTENT
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def test_a_file_and_then_nothing_more(server, tmp_path):
    for _ in range(2):
        fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert server.asked == [("a.bin", None)]
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_a_cut_connection_is_taken_up_where_it_was(server, tmp_path):
    server.cuts = [100_000, 50_000]
    fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]


def test_what_an_earlier_attempt_left_is_used(server, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(CONTENT[:120_000])
    fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert server.asked == [("a.bin", "bytes=120000-")]
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


@pytest.mark.parametrize("left", [CONTENT, b"other bytes", CONTENT + b"more"])
def test_a_whole_a_wrong_or_a_long_part(server, tmp_path, left):
    (tmp_path / "a.bin.part").write_bytes(left)
    fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_server_without_ranges_sends_all_of_it(server, tmp_path):
    server.ranges, server.cuts = False, [100_000]
    fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == CONTENT


def test_a_connection_that_brings_nothing_is_given_up(server, tmp_path):
    server.cuts = [1000] + [0] * 10
    with pytest.raises(fetch.FetchError, match=r"cut after 1,000 bytes, 5 times"):
        fetch.download([server.url("a.bin")], md5(CONTENT), tmp_path / "a.bin")
    assert (tmp_path / "a.bin.part").read_bytes() == CONTENT[:1000]  # for another time
    assert len(server.asked) == 6


def test_a_wrong_checksum_is_refused(server, tmp_path):
    with pytest.raises(fetch.FetchError, match=f"wrong checksum: expected MD5 {'0' * 32}, got {md5(CONTENT)}"):
        fetch.download([server.url("a.bin")], "0" * 32, tmp_path / "a.bin")
    assert list(tmp_path.iterdir()) == []


def test_the_next_address_is_tried(server, tmp_path):
    urls = [server.url("missing.bin"), server.url("a.bin")]
    fetch.download(urls, md5(CONTENT), tmp_path / "a.bin")
    with pytest.raises(fetch.FetchError, match="Not Found"):
        fetch.download(urls[:1], md5(b""), tmp_path / "b.bin")


def test_an_unreachable_host_is_one_line(server, tmp_path):
    url = server.url("a.bin").replace(str(server.server_port), "1")  # nothing listens on port 1
    with pytest.raises(InputError) as caught:
        fetch.ensure("toys", [File((url,), md5(CONTENT), "toys")], tmp_path)
    assert str(caught.value) == (
        f"toys: {tmp_path / 'toys' / 'a.bin'} is missing or damaged and {url} could not be fetched "
        f"([Errno 111] Connection refused); by hand: put a.bin from there into {tmp_path / 'toys'}"
    )


def test_two_at_once_fetch_once(server, tmp_path):
    file, both = File((server.url("a.bin"),), md5(CONTENT)), threading.Barrier(2)

    def ask():
        both.wait()
        fetch.ensure("toys", [file], tmp_path)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert server.asked == [("a.bin", None)]
    assert fetch.is_there([file], tmp_path)


def tar_of(*members, mode="w:gz"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, raw, *kind in members:
            info = tarfile.TarInfo(name)
            if kind:
                info.type, info.linkname = kind
            else:
                info.size = len(raw)
            tar.addfile(info, None if kind else io.BytesIO(raw))
    return buffer.getvalue()


def zip_of(*members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("kind", "raw", "gives", "inner"),
    [
        ("tar", tar_of(("toys/a/x.txt", b"x")), ("toys/a",), ()),
        ("tar", tar_of(("toys/a/x.txt", b"x"), mode="w"), ("toys/a",), ()),
        ("zip", zip_of(("toys/a/x.txt", b"x"), ("other.txt", b"y")), ("toys/a",), ()),
        ("zip", zip_of(("in/x.tar.gz", tar_of(("toys/a/x.txt", b"x")))), ("toys/a",), ("in/x.tar.gz",)),
        ("zip", zip_of(("in/x.gz", gzip.compress(b"x"))), ("x",), ("in/x.gz",)),
    ],
)
def test_archives(server, tmp_path, kind, raw, gives, inner):
    server.files["a.bin"] = raw
    file = File((server.url("a.bin"),), md5(raw), "f", kind, gives, inner)
    fetch.ensure("toys", [file], tmp_path)
    made = tmp_path / "f" / gives[0]
    assert (made if made.is_file() else made / "x.txt").read_bytes() == b"x"
    assert sorted(path.name for path in (tmp_path / "f").iterdir()) == sorted(
        ["a.bin", "a.bin.lock", gives[0].split("/")[0]]
    )
    fetch.ensure("toys", [file], tmp_path, again=True)  # in the place of what is there
    assert server.asked == [("a.bin", None)]


OUT = "../../escaped.txt"


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        ("tar", tar_of((OUT, b"x"))),
        ("tar", tar_of(("/tmp/escaped-hem-study.txt", b"x"))),
        ("tar", tar_of(("link", b"", tarfile.SYMTYPE, "../.."), ("link/escaped.txt", b"x"))),
        ("tar", tar_of(("link", b"", tarfile.LNKTYPE, "../../data.txt"))),
        ("zip", zip_of((OUT, b"x"))),
        ("zip", zip_of(("/tmp/escaped-hem-study.txt", b"x"))),
        ("zip", zip_of(("..\\..\\escaped.txt", b"x"))),
    ],
)
def test_archives_that_lead_out_are_refused(tmp_path, kind, raw):
    folder = tmp_path / "deep" / "down"
    folder.mkdir(parents=True)
    (folder / "a.bin").write_bytes(raw)
    with pytest.raises(fetch.FetchError, match=r"refused|outside|cannot be unpacked"):
        fetch.unpack(File(("a.bin",), md5(raw), "", kind, ("toys",)), folder)
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
    assert found == ["deep", "deep/down", "deep/down/a.bin"]


@pytest.mark.parametrize(
    ("kind", "raw", "message"),
    [
        ("tar", b"no archive", "cannot be unpacked"),
        ("zip", zip_of(("toys/x", b"x"))[:-10], "cannot be unpacked"),
        ("gz", gzip.compress(CONTENT)[:-9], "cannot be unpacked"),
        ("zip", zip_of(("other", b"x")), "does not hold toys"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, kind, raw, message):
    (tmp_path / "a.bin").write_bytes(raw)
    with pytest.raises(fetch.FetchError, match=message):
        fetch.unpack(File(("a.bin",), md5(raw), "", kind, ("toys",)), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
