"""Scores kept in a file while they are made, so that a run that was stopped goes on.

One JSON line a score. A score belongs to a key: the hash of everything it depends on (the pixels of
the pair, the weights and how they are run, or the pixels of a result; protocol, metrics, data set,
versions). What has another key is another score: nothing is ever taken for what it is not, and one
file may serve any number of evaluations.
"""

from __future__ import annotations

import glob
import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import torch
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.files import sha256_file
from irkd.inference.backends import RuntimeNetwork
from irkd.inference.candidates import Candidate
from irkd.models.weights import resolve_model
from irkd.report.evaluation import ImageScore

_HEADER = {"irkd": "scores", "format": 1}


class KeptScores:
    """The scores in a file, which is made where it is missing. Close it when done."""

    def __init__(self, path: str | Path) -> None:
        """Raises IrkdError where `path` is something else than such a file."""
        self.path = Path(path)
        self.taken = 0
        self._scores = self._read()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = self.path.open("a", encoding="utf-8")
        if self._file.tell() == 0:
            self._write(_HEADER)

    def _read(self) -> dict[str, dict[str, Any]]:
        if self.path.is_dir():
            raise IrkdError(f"{self.path} is a folder; name a file to keep scores in.")
        if not self.path.exists():
            return {}
        content = self.path.read_bytes()
        # A run that was stopped while writing leaves half a line.
        whole = content[: content.rfind(b"\n") + 1]
        refusal = f"{self.path} is no file of kept scores. Name another, or a new one."
        if content and not whole:
            raise IrkdError(refusal)
        scores: dict[str, dict[str, Any]] = {}
        for number, line in enumerate(whole.splitlines(), start=1):
            try:
                entry = json.loads(line)
                if number == 1:
                    if entry != _HEADER:
                        raise IrkdError(refusal)
                    continue
                scores[str(entry["key"])] = {
                    "scores": {name: float(value) for name, value in entry["scores"].items()},
                    "latency_ms": entry["latency_ms"],
                }
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                if number == 1:
                    raise IrkdError(refusal) from error
                raise IrkdError(
                    f"{self.path}, line {number}: damaged. Remove the line, or name a new file."
                ) from error
        if len(whole) < len(content):
            with self.path.open("rb+") as file:
                file.truncate(len(whole))
        return scores

    def find(self, key: str, name: str, size: tuple[int, int]) -> ImageScore | None:
        """The score of that key, as that of the image called `name`."""
        entry = self._scores.get(key)
        if entry is None:
            return None
        self.taken += 1
        return ImageScore(name, *size, entry["scores"], entry["latency_ms"])

    def add(self, key: str, label: str, score: ImageScore) -> None:
        """Write a score at once. `label` and the image's name are for people to read."""
        if key in self._scores:
            return
        entry = {"scores": dict(score.scores), "latency_ms": score.latency_ms}
        self._scores[key] = entry
        written = {name: _number(value) for name, value in score.scores.items()}
        self._write({"key": key, "row": label, "image": score.name, **entry, "scores": written})

    def _write(self, entry: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(entry, allow_nan=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> KeptScores:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _number(value: float) -> float | str:
    """JSON has no infinity; `float` reads these words."""
    return value if math.isfinite(value) else str(value)


def pixels_hash(*images: NDArray[Any] | None) -> str:
    """Of the sizes and pixels of images, in this order; None counts."""
    digest = hashlib.blake2b(digest_size=20)
    for image in images:
        if image is None:
            digest.update(b"none;")
            continue
        digest.update(f"{image.shape} {image.dtype};".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def network_hash(candidate: Candidate) -> str:
    """Of a model's weights, and of how its network is built and run.

    Raises IrkdError for a network that was handed over as an object: what it does cannot be known.
    """
    if candidate.source is None:
        raise IrkdError(
            f"{candidate.label} is no file: scores can be kept of models that are named by path."
        )
    network = candidate.restorer.network
    spec = getattr(network, "spec", None)  # not of several networks
    digest = hashlib.sha256(f"{type(network).__qualname__} {spec}".encode())
    if isinstance(network, RuntimeNetwork):
        path = resolve_model(candidate.source).path
        # The graph's file, and the weights beside it.
        for file in sorted(path.parent.glob(f"{glob.escape(path.stem)}.*")):
            if file.is_file():
                digest.update(f"{file.name} {sha256_file(file)};".encode())
        return digest.hexdigest()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
        plain = tensor.detach().cpu().contiguous().flatten()
        digest.update(plain.view(torch.uint8).numpy().data)
    return digest.hexdigest()


def score_key(facts: Mapping[str, Any], **row: object) -> str:
    """The key of a score: of what the whole evaluation shares, and of what its row adds."""
    text = json.dumps({"shared": dict(facts), **row}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
