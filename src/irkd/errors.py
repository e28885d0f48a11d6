"""Errors a user can act on: the command line prints the message and exits with `exit_code`."""

from __future__ import annotations


class IrkdError(Exception):
    """Bad input: the message names the thing, what was expected, and what to do."""

    exit_code = 2


class PartialFailure(IrkdError):
    """Some of many files failed; everything else was done."""

    exit_code = 1
