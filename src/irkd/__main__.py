"""`python -m irkd` is the `irkd` command."""

from irkd.cli.main import main

main()
