"""Rain1400 (also DDN-Data, Rain14000, Rain12600): Fu et al., CVPR 2017."""

from __future__ import annotations

import re

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import SideFolders
from irkd.data.pairs import Split


def _signature(glance: Glance) -> bool:
    sides = glance.sides({"rainy_image"}, {"ground_truth"})
    return any(
        degraded
        and references
        and all(re.fullmatch(r"\d+_\d+", stem) for stem in degraded)
        and all(stem.isdigit() for stem in references)
        for _, degraded, references in sides
    )


def _split(key: str) -> Split:
    # 900 clean images for training and 100 for testing, as in PReNet, RCDNet and DRSformer.
    return "test" if key.isdigit() and int(key) > 900 else "train"


RAIN1400 = SideFolders(
    name="rain1400",
    description="rainy_image/ID_TYPE and ground_truth/ID, several degraded images a reference",
    data_set="rain1400",
    signature=_signature,
    # The text before the last underscore.
    degraded_key=lambda stem: stem.rpartition("_")[0],
    official_split=_split,
    generic=True,
)

LAYOUTS = (RAIN1400,)
