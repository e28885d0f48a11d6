from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope="session")
def calibration_pair() -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    """Distorted and reference image of one of the TID2013 pairs that pyiqa installs."""
    found = importlib.util.find_spec("pyiqa")
    if found is None or found.origin is None:
        pytest.skip("pyiqa is not installed")
    folder = Path(found.origin).parents[1] / "ResultsCalibra"
    if not folder.is_dir():
        pytest.skip("this pyiqa brings no calibration images")

    def load(name: str) -> tuple[np.ndarray, np.ndarray]:
        distorted, reference = (
            cv2.imread(str(folder / part / f"{name}.bmp"))[..., ::-1]
            for part in ("dist_dir", "ref_dir")
        )
        return distorted, reference

    return load
