"""The built-in test set: six photographs that ship inside scikit-image, never trained on."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from irkd.data.pairs import Image
from irkd.data.procedural import Floats
from irkd.data.reading import read_image
from irkd.data.synthetic import PHOTOGRAPHS, SyntheticPairs
from irkd.errors import IrkdError

# Name to file. Licences as scikit-image states them: astronaut, hubble NASA (public domain);
# chelsea, coffee CC0; rocket SpaceX (public domain); motorcycle Middlebury 2014 stereo.
FILES = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "rocket": "rocket.jpg",
    "motorcycle": "motorcycle_left.png",
    "hubble": "hubble_deep_field.jpg",
}
_DISPARITY = {"motorcycle": "motorcycle_disp.npz"}
# Middlebury calibration for the copy in scikit-image: principal points of both cameras differ by
# this many pixels, which disparities are measured without.
_DISPARITY_OFFSET = 31.086


class PhotographPairs(SyntheticPairs):
    """The photographs degraded for a task; always the same, so that numbers can be compared."""

    def __init__(self, task: str) -> None:
        self.name = "photographs"
        self.task = self._degradation = task
        self._seed, self._stream = 0, PHOTOGRAPHS
        self._names = list(FILES)

    def __len__(self) -> int:
        return len(self._names)

    def pair_name(self, index: int) -> str:
        return self._names[index]

    def clean(self, index: int) -> tuple[Image, Floats | None]:
        name = self._names[index]
        return _photograph(name), _depth(name)


@cache
def _photograph(name: str) -> Image:
    image = read_image(_data_folder() / FILES[name])
    image.flags.writeable = False
    return image


@cache
def _depth(name: str) -> Floats | None:
    """Depth in [0, 1] from a measured disparity map, where there is one."""
    if name not in _DISPARITY:
        return None
    with np.load(_data_folder() / _DISPARITY[name]) as archive:
        disparity: Floats = archive["arr_0"]
    known = np.isfinite(disparity)
    distance = 1 / (np.where(known, disparity, 0) + _DISPARITY_OFFSET)
    nearest, farthest = distance[known].min(), distance[known].max()
    depth: Floats = ((distance - nearest) / (farthest - nearest)).astype(np.float32)
    # Occluded pixels have no disparity: they take the depth of what surrounds them.
    bytes_ = np.rint(np.clip(depth, 0, 1) * 255).astype(np.uint8)
    filled = cv2.inpaint(bytes_, (~known).astype(np.uint8), 3, cv2.INPAINT_TELEA)
    return np.where(known, depth, filled.astype(np.float32) / np.float32(255))


def _data_folder() -> Path:
    # Read by path: scikit-image's own functions may download what they do not find.
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise IrkdError("the built-in photographs need scikit-image, which is not installed.")
    return Path(spec.submodule_search_locations[0]) / "data"
