"""GoPro: Nah et al., CVPR 2017. Two kinds of blur beside one sharp image."""

from __future__ import annotations

import re

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.side_folders import SideFolders
from irkd.data.layouts.walking import plain

_SEQUENCE = re.compile(r"gopr\d+_\d+_\d+")


def _signature(glance: Glance) -> bool:
    for path, folder in glance.folders.items():
        below = {plain(name) for name in folder.folders}
        name = plain(path.rpartition("/")[2]) or glance.name
        if {"blur", "sharp"} <= below and (_SEQUENCE.fullmatch(name) or "blur_gamma" in below):
            return True
    return False


def _gamma_alone(glance: Glance) -> bool:
    found = [{plain(name) for name in folder.folders} for folder in glance.folders.values()]
    return any({"blur_gamma", "sharp"} <= names for names in found) and not any(
        {"blur", "sharp"} <= names for names in found
    )


LAYOUTS = (
    SideFolders(
        name="gopro",
        description="SEQUENCE/blur/NAME and SEQUENCE/sharp/NAME; blur_gamma/ is passed over",
        data_set="gopro",
        signature=_signature,
        degraded_folders=("blur",),
        reference_folders=("sharp",),
    ),
    SideFolders(
        name="gopro-gamma",
        description="SEQUENCE/blur_gamma/NAME and SEQUENCE/sharp/NAME; blur/ is passed over",
        data_set="gopro-gamma",
        signature=_gamma_alone,
        degraded_folders=("blur_gamma",),
        reference_folders=("sharp",),
    ),
)
