"""SPA-Data: Wang et al., CVPR 2019. Lists of pairs; the test images also pair by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.listed import Listed
from irkd.data.pairs import Split

_TEST_FOLDER = "real_test_1000"


def _reference_key(stem: str) -> str | None:
    return stem.removesuffix("gt") if re.fullmatch(r"\d+gt", stem) else None


def _signature(glance: Glance) -> bool:
    for folder in glance.folders.values():
        for name in folder.others:
            if re.fullmatch(f"(?:{SPA.train_list}|{SPA.test_list})", name, re.IGNORECASE):
                return True
    sides = glance.sides(SPA.degraded_folders, SPA.reference_folders)
    return any(
        references and all(_reference_key(stem) for stem in references)
        for _, _, references in sides
    )


@dataclass(frozen=True, kw_only=True)
class SpaData(Listed):
    def parts(self, root: Path) -> dict[Split, Path]:
        """The lists; the test images' folder stands for a list that was left behind."""
        parts = super().parts(root)
        folder = root / _TEST_FOLDER
        if parts and "test" not in parts and folder.is_dir():
            parts["test"] = folder
        return parts


SPA = SpaData(
    name="spa",
    description="lines of two paths in real_world.txt and real_test_1000.txt; or rain/NAME and"
    " gt/NAMEgt",
    data_set="spa",
    signature=_signature,
    train_list=r"real_world\.txt",
    test_list=r"real_test_1000\.txt",
    degraded_column=0,
    degraded_folders=("rain",),
    reference_folders=("gt",),
    reference_key=_reference_key,
)

LAYOUTS = (SPA,)
