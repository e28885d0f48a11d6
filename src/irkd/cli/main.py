"""The `irkd` command: its subcommands, and how errors end."""

from __future__ import annotations

import errno
import importlib
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from irkd.cli.common import stderr
from irkd.cli.run_options import NEWEST
from irkd.errors import IrkdError

COMMANDS = (
    "distill",
    "evaluate",
    "benchmark",
    "export",
    "restore",
    "train",
    "compare",
    "presets",
    "methods",
    "data",
)

# Wrong use of the command line. Newer releases of typer carry their own copy of click, whose
# classes are not those of the installed click: the base class is reached through typer alone.
_UsageError: type[Any] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="irkd",
    help="Compress image-restoration networks by knowledge distillation, and use the result.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"irkd {version('irkd')}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (with any command).")
    ] = False,
) -> None:
    pass


for _name in COMMANDS:
    _module = importlib.import_module(f"irkd.cli.{_name}")
    if hasattr(_module, "app"):
        app.add_typer(_module.app, name=_name)
    else:
        app.command(_name)(getattr(_module, _name))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; every expected failure becomes one message and an exit code."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    # --debug is accepted anywhere, since people add it to the end of the line that just failed.
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    _print_any_name()
    with _ended_by_termination() as ended:
        code = _run(_name_newest_run(arguments), debug)
    sys.exit(143 if ended and code == 130 else code)


def _print_any_name() -> None:
    """Names of files that the streams' encoding lacks are printed as escapes; what is printed to a
    closed stream goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


@contextmanager
def _ended_by_termination() -> Iterator[list[int]]:
    """A signal to terminate ends the command as Ctrl-C does, so that temporary files are removed;
    it is in what is yielded then."""
    ended: list[int] = []

    def end(number: int, _: object) -> None:
        ended.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield ended
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield ended
    finally:
        signal.signal(signal.SIGTERM, before)


def _name_newest_run(arguments: list[str]) -> list[str]:
    """Write `--resume` without a folder as `--resume newest`: typer has no optional values."""
    result = []
    for argument, following in zip(arguments, [*arguments, "--"][1:], strict=True):
        result.append(argument)
        if argument == "--resume" and following.startswith("-"):
            result.append(NEWEST)
    return result


def _run(arguments: list[str], debug: bool) -> int:
    try:
        if "" in arguments:
            raise IrkdError("an empty argument was given. Is a variable of the shell not set?")
        result = app(arguments, prog_name="irkd", standalone_mode=False)
        if result == 130:  # newer releases of typer return what Ctrl-C ends with
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except IrkdError as error:
        return _fail(str(error), error.exit_code, debug)
    except _UsageError as error:
        error.show()
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted.", 130, debug)
    except BrokenPipeError:
        # The reader of our output (`| head`) has gone; there is nobody left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _fail(_describe_os_error(error), 2, debug)
    except Exception as error:
        return _fail(
            f"unexpected {type(error).__name__}: {error}\nThis is a fault in irkd; "
            "run the command again with --debug for the traceback.",
            70,
            debug,
        )


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    stderr().print(f"[bold red]error:[/] {_escape(message)}", highlight=False, soft_wrap=True)
    return code


def _escape(message: str) -> str:
    from rich.markup import escape

    return escape(message)


def _describe_os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}the disk is full. Free some space, or choose another place."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{where}no permission to write or read here. Choose another folder."
    return f"{where}{error.strerror or error}."
