"""The folder where downloaded weights are kept, and fetching into it.

Nothing is downloaded unless a caller asks for one URL, with the checksum its content must have.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from irkd.errors import IrkdError
from irkd.files import atomic_path, sha256_file

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0

# What else an OSError may be (a full disk) is no fault of the connection.
_CONNECTION_ERRORS = (
    urllib.error.URLError,
    http.client.HTTPException,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
)

Progress = Callable[[int, int | None], None]


def cache_directory() -> Path:
    """$IRKD_CACHE, else irkd in the user's cache folder ($XDG_CACHE_HOME, else ~/.cache)."""
    if override := os.environ.get("IRKD_CACHE"):
        return Path(override).expanduser()
    # The XDG specification has relative paths ignored.
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "irkd"


def cached_path(url: str, sha256: str) -> Path:
    """Where `fetch` keeps the file from `url` with this checksum."""
    address = urllib.parse.urlsplit(url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise IrkdError(f"{url}: only http and https addresses can be fetched.")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise IrkdError(f"{sha256!r} is no SHA-256 checksum: 64 hexadecimal digits.")
    name = re.sub(r"[^\w.-]", "_", Path(urllib.parse.unquote(address.path)).name) or "weights"
    return cache_directory() / "weights" / sha256.lower()[:16] / name


def fetch(url: str, sha256: str, *, progress: Progress | None = None) -> Path:
    """The cached file with the SHA-256 `sha256` (hexadecimal), downloaded from `url` if need be.

    A download becomes visible only when it is complete and its checksum is right. `progress` is
    called with the bytes that have arrived and the total, where the server tells it. Raises
    IrkdError when there is no connection or the content is another.
    """
    path = cached_path(url, sha256)
    sha256 = sha256.lower()
    if path.is_file() and sha256_file(path) == sha256:
        return path
    with atomic_path(path, overwrite=True) as temporary:
        try:
            found = _download(url, temporary, progress)
        except urllib.error.HTTPError as error:
            raise IrkdError(f"{url}: the server answers {error.code} {error.reason}.") from error
        except _CONNECTION_ERRORS as error:
            reason = getattr(error, "reason", None) or error or type(error).__name__
            raise IrkdError(
                f"{url} cannot be fetched ({reason}). Is this machine connected? Otherwise "
                "download the file elsewhere and give its path."
            ) from error
        if found != sha256:
            raise IrkdError(
                f"{url}: what came has SHA-256 {found}, expected {sha256}. Nothing is kept. The "
                "file has changed, the download was cut short, or the address leads to a page."
            )
    return path


def _download(url: str, path: Path, progress: Progress | None) -> str:
    """Stream `url` into `path`; returns the SHA-256 of what came."""
    digest = hashlib.sha256()
    with (
        urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response,
        path.open("wb") as file,
    ):
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        arrived = 0
        while chunk := response.read(CHUNK_BYTES):
            file.write(chunk)
            digest.update(chunk)
            arrived += len(chunk)
            if progress is not None:
                progress(arrived, total)
    return digest.hexdigest()
