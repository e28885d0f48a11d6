"""One image of a set as every row of an evaluation has it: degraded, by models, by other tools."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irkd.errors import IrkdError
from irkd.inference.candidates import Candidate
from irkd.inference.image_sets import ImageSet, ResultFolder, read_image
from irkd.inference.kept_scores import KeptScores, pixels_hash, score_key
from irkd.inference.scoring import Restoration
from irkd.report.evaluation import DEGRADED, Failure


@dataclass(frozen=True)
class KnownScores:
    """Scores kept of an earlier run, and what tells whether they are those that are wanted now."""

    kept: KeptScores
    facts: Mapping[str, Any]
    networks: Mapping[str, str]
    """The hash of each model by its label."""

    def key(self, pair: str, label: str, result: NDArray[np.uint8] | None = None) -> str:
        network = self.networks.get(label)
        found = None if result is None else pixels_hash(result)
        return score_key(self.facts, pair=pair, network=network, result=found)


def restore_image(
    images: ImageSet,
    index: int,
    candidates: Sequence[Candidate],
    folders: Mapping[str, ResultFolder],
    known: KnownScores | None = None,
) -> Restoration:
    """Image `index` by every model and from every folder; what fails is in its `failures`.

    Rows with scores in `known` are not restored again.
    """
    name = images.image_name(index)
    try:
        degraded, reference = images.load(index)
    except IrkdError as error:
        return Restoration(index, name, failures=[Failure(images.name, name, str(error))])
    picture = degraded if degraded is not None else reference
    assert picture is not None
    size = (picture.shape[0], picture.shape[1])
    result = Restoration(index, name, size, reference)
    pair = pixels_hash(degraded, reference) if known is not None else ""

    def stands(label: str, found: NDArray[np.uint8] | None = None) -> bool:
        """Whether the score of this row stands; its key is kept in any case."""
        if known is None:
            return False
        key = result.keys[label] = known.key(pair, label, found)
        score = known.kept.find(key, name, size)
        if score is not None:
            result.known[label] = score
        return score is not None

    if degraded is not None and not stands(DEGRADED):
        result.restored[DEGRADED] = degraded
    inputs: NDArray[np.float32] | None = None
    for candidate in candidates:
        assert degraded is not None
        if stands(candidate.label):
            continue
        if inputs is None:
            inputs = np.divide(degraded, 255, dtype=np.float32)
        started = time.perf_counter()
        try:
            result.restored[candidate.label] = candidate.restorer(inputs)
        except IrkdError as error:
            result.failures.append(Failure(candidate.label, name, str(error)))
            continue
        result.latency_ms[candidate.label] = (time.perf_counter() - started) * 1e3
    for label, folder in folders.items():
        try:
            found = find_result(folder, name, size)
        except IrkdError as error:
            result.failures.append(Failure(label, name, str(error)))
            continue
        if not stands(label, found):
            result.restored[label] = found
    return result


def find_result(folder: ResultFolder, name: str, size: tuple[int, int]) -> NDArray[np.uint8]:
    """The result for the image called `name`, which must be of `size`: height and width."""
    path = folder.find(name)
    if path is None:
        raise IrkdError(f"{folder.path} holds no result of this name.")
    picture = read_image(path)
    if picture.shape[:2] != size:
        raise IrkdError(
            f"{path} has {picture.shape[0]} x {picture.shape[1]} pixels; "
            f"the reference has {size[0]} x {size[1]}."
        )
    return picture
