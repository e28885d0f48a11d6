"""Two folders with the same names in both: what most repositories repackage data sets to."""

from irkd.data.layouts.side_folders import SideFolders

PAIRED = SideFolders(
    name="paired",
    description="input/NAME and target/NAME, with the same stem on both sides",
    generic=True,
)

LAYOUTS = (PAIRED,)
