"""The folder that one training run writes, and what others read from it."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from irkd.errors import IrkdError
from irkd.files import write_json, write_text

if os.name == "posix":
    import fcntl

PRESET = "preset.yaml"
MANIFEST = "manifest.json"
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
SAMPLES = "samples"
STUDENT = "student.safetensors"


class Busy(IrkdError):
    """Another process works in the run directory."""


class RunDirectory:
    """One run's folder.

    preset.yaml (resolved), manifest.json (command, versions, device, seed, teacher), log.jsonl,
    checkpoints/, samples/, student.safetensors, report.md.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[str] | None = None

    @classmethod
    def create(cls, out: Path | None, name: str) -> RunDirectory:
        """A new run directory: `out`, or runs/<date>-<name> with a number where that is taken.

        Raises IrkdError when `out` holds anything already.
        """
        if out is not None:
            if out.exists() and not out.is_dir():
                raise IrkdError(f"{out} is a file; --out names a folder.")
            if out.exists() and any(out.iterdir()):
                if (out / PRESET).exists():
                    raise IrkdError(
                        f"{out} holds a run already. Go on with `--resume {out}`, or choose another"
                        " folder with --out."
                    )
                raise IrkdError(f"{out} is not empty. Choose another folder with --out.")
            out.mkdir(parents=True, exist_ok=True)
            return cls(out)
        stem = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}"
        for suffix in ["", *[f"-{number}" for number in range(2, 1000)]]:
            path = Path("runs") / f"{stem}{suffix}"
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(path)
        raise IrkdError(f"no free name for a run directory under runs/{stem}.")

    def drop_if_empty(self) -> None:
        """Leave no trace of a run that did not begin."""
        with contextlib.suppress(OSError):
            self.path.rmdir()

    @classmethod
    def open(cls, path: Path) -> RunDirectory:
        """An existing run directory, to go on with or to read."""
        if not (path / PRESET).is_file():
            raise IrkdError(f"{path} is no run directory: it has no {PRESET}.")
        return cls(path)

    @classmethod
    def latest(cls) -> RunDirectory:
        """The newest run under runs/."""
        candidates = sorted(Path("runs").glob(f"*/{PRESET}"), key=lambda file: file.stat().st_mtime)
        if not candidates:
            raise IrkdError("there is no run to resume under runs/. Name its folder: --resume DIR.")
        return cls(candidates[-1].parent)

    @property
    def checkpoints(self) -> Path:
        return self.path / CHECKPOINTS

    @property
    def samples(self) -> Path:
        return self.path / SAMPLES

    @property
    def student(self) -> Path:
        return self.path / STUDENT

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder against a second run; a killed run's hold ends with its process."""
        with (self.path / ".lock").open("a") as lock:
            if os.name == "posix":
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise Busy(
                        f"{self.path} is in use by another run. Wait for it, or choose another"
                        " folder with --out."
                    ) from None
            yield

    def write_preset(self, text: str, *, overwrite: bool = False) -> None:
        write_text(self.path / PRESET, text, overwrite=overwrite)

    def write_manifest(self, content: dict[str, Any], *, overwrite: bool = False) -> None:
        write_json(self.path / MANIFEST, content, overwrite=overwrite)

    def manifest(self) -> dict[str, Any]:
        path = self.path / MANIFEST
        if not path.is_file():
            raise IrkdError(f"{self.path} has no {MANIFEST}; the run stopped before it began.")
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content

    def append_log(self, entry: dict[str, Any]) -> None:
        with (self.path / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, allow_nan=True) + "\n")

    def log(self) -> list[dict[str, Any]]:
        """The log's entries; of two entries for one step and kind (after a resume) the later wins.

        A last line cut short by a kill is passed over.
        """
        path = self.path / LOG
        if not path.is_file():
            return []
        entries: dict[tuple[str, int], dict[str, Any]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue
            entries[(entry["kind"], entry["step"])] = entry
        return sorted(entries.values(), key=lambda entry: entry["step"])


def command_line() -> str:
    """The command that is running, as it could be typed again."""
    program = Path(sys.argv[0]).name
    program = "irkd" if program in ("__main__.py", "irkd") else program
    return shlex.join([program, *sys.argv[1:]])
