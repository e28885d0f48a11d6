"""Fetching from a real server on this machine, and from none."""

from __future__ import annotations

import hashlib
import http.server
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from irkd.errors import IrkdError
from irkd.models.weights_cache import cache_directory, fetch

CONTENT = bytes(range(256)) * 9000  # two chunks and a half
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Handler(http.server.BaseHTTPRequestHandler):
    requests: list[str]

    def do_GET(self) -> None:
        self.requests.append(self.path)
        if self.path.startswith("/moved"):
            self.send_response(302)
            self.send_header("Location", "/net.pth")
            self.end_headers()
            return
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        self.send_response(200)
        if not self.path.startswith("/unsized"):
            self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        cut = len(CONTENT) // 2 if self.path.startswith("/cut") else len(CONTENT)
        self.wfile.write(CONTENT[:cut])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def requests() -> list[str]:
    return []


@pytest.fixture
def server(requests: list[str]) -> Iterator[str]:
    handler = type("_Handler", (Handler,), {"requests": requests})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IRKD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("address", ["net.pth", "moved.pth", "unsized.pth", "net.pth?download=1"])
def test_fetched_once_and_kept(address: str, server: str, requests: list[str], cache: Path) -> None:
    arrived: list[tuple[int, int | None]] = []
    path = fetch(f"{server}/{address}", SHA256, progress=lambda *done: arrived.append(done))
    assert path.read_bytes() == CONTENT
    assert path.is_relative_to(cache)
    assert path.suffix == ".pth"
    total = None if address.startswith("unsized") else len(CONTENT)
    assert arrived[-1] == (len(CONTENT), total)
    assert [done for done, _ in arrived] == sorted({done for done, _ in arrived})
    count = len(requests)
    assert fetch(f"{server}/{address}", SHA256.upper()) == path
    assert len(requests) == count
    assert files(cache) == [path]


def test_a_damaged_file_is_fetched_again(server: str) -> None:
    path = fetch(f"{server}/net.pth", SHA256)
    path.write_bytes(CONTENT[:-1])
    assert fetch(f"{server}/net.pth", SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize("address", ["cut.pth", "missing.pth"])
def test_what_does_not_arrive_whole_is_not_kept(address: str, server: str, cache: Path) -> None:
    with pytest.raises(IrkdError) as caught:
        fetch(f"{server}/{address}", SHA256)
    assert f"{server}/{address}" in str(caught.value)
    assert ("404" in str(caught.value)) == (address == "missing.pth")
    assert files(cache) == []


def test_another_content_is_not_kept(server: str, cache: Path) -> None:
    with pytest.raises(IrkdError, match=f"has SHA-256 {SHA256}, expected {'0' * 64}"):
        fetch(f"{server}/net.pth", "0" * 64)
    assert files(cache) == []


def test_no_connection(cache: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(IrkdError, match="connected") as caught:
        fetch(f"http://127.0.0.1:{port}/net.pth", SHA256)
    assert "give its path" in str(caught.value)
    assert files(cache) == []


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/a", "net.pth", "http://"])
def test_only_web_addresses(url: str) -> None:
    with pytest.raises(IrkdError, match="only http and https"):
        fetch(url, SHA256)


def test_checksums_are_checksums(server: str, requests: list[str]) -> None:
    for checksum in ("", "abc", "z" * 64, SHA256[:-1], f"../{SHA256[3:]}"):
        with pytest.raises(IrkdError, match="no SHA-256"):
            fetch(f"{server}/net.pth", checksum)
    assert requests == []


def test_names_cannot_leave_the_cache(server: str, cache: Path) -> None:
    path = fetch(f"{server}/a%2F..%2F..%2Fnet%20x.pth", SHA256)
    assert path.is_relative_to(cache)
    assert path.name == "net_x.pth"


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_directory() == tmp_path / "cache"
    monkeypatch.delenv("IRKD_CACHE")
    assert cache_directory() == tmp_path / "xdg" / "irkd"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_directory() == Path.home() / ".cache" / "irkd"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_directory() == Path.home() / ".cache" / "irkd"
