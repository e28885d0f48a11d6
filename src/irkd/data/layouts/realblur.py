"""RealBlur: Rim et al., ECCV 2020. Scenes, and lists that tell training from test pairs."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial

from irkd.data.layouts.glance import Glance
from irkd.data.layouts.listed import Listed
from irkd.data.layouts.walking import plain


def _number(side: str, stem: str) -> str | None:
    match = re.fullmatch(rf"{side}_(\d+)", stem)
    return match and match[1]


def _signature(kind: str) -> Callable[[Glance], bool]:
    other = {"j": "r", "r": "j"}[kind]

    def knows(glance: Glance) -> bool:
        names = {plain(name) for folder in glance.folders.values() for name in folder.folders}
        names |= {plain(name) for folder in glance.folders.values() for name in folder.others}
        names |= set(glance.above)
        mine, theirs = (
            any(name.startswith(f"realblur_{letter}_") for name in names)
            for letter in (kind, other)
        )
        scenes = any(
            any(_number("blur", stem) for stem in degraded)
            and any(_number("gt", stem) for stem in references)
            for _, degraded, references in glance.sides({"blur"}, {"gt"})
        )
        # Scenes under names that tell nothing are taken for J, which is what papers use.
        return mine or (kind == "j" and scenes and not theirs)

    return knows


def _layout(kind: str) -> Listed:
    letter = kind.upper()
    return Listed(
        name=f"realblur-{kind}",
        description=f"lines of two paths in RealBlur_{letter}_train_list.txt and"
        f" RealBlur_{letter}_test_list.txt; or SCENE/blur/blur_N and SCENE/gt/gt_N",
        data_set=f"realblur-{kind}",
        signature=_signature(kind),
        train_list=rf"realblur_{kind}_train_list\.txt",
        test_list=rf"realblur_{kind}_test_list\.txt",
        degraded_column=1,
        degraded_folders=("blur",),
        reference_folders=("gt",),
        degraded_key=partial(_number, "blur"),
        reference_key=partial(_number, "gt"),
    )


LAYOUTS = (_layout("j"), _layout("r"))
