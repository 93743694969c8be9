"""Lets Snakemake take ``--config verdict.audio_min=0.5``, and say what is wrong in one line.

Snakemake reads its command line and the files of ``--configfile`` before any Snakefile, which may
name another file (``configfile:``). What it imports before that are its plugins. So ours,
src/snakemake_logger_plugin_nano4m_audio, calls ``install``, which changes how all of these are read
in the pinned version of Snakemake.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def _one_line(function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """``function`` with UserErrors as the exceptions that Snakemake shows in one line."""
    from snakemake.exceptions import CliException

    from nano4m_audio.errors import UserError

    def wrapped(argument: Any) -> dict[str, Any]:
        try:
            return function(argument)
        except UserError as error:
            raise CliException(str(error)) from None

    return wrapped


def _or_exit(function: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    """``function`` with UserErrors as the end of the process: of an exception inside a Snakefile,
    Snakemake also shows where in the code it was raised."""
    from nano4m_audio.errors import UserError

    def wrapped(argument: Any) -> dict[str, Any]:
        try:
            return function(argument)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            sys.exit(1)

    return wrapped


def install() -> None:
    """Have Snakemake read ``--config`` and config files as this project does."""
    from snakemake import cli
    from snakemake.common import configfile
    from snakemake.settings import types

    read_plain, read_file = cli.parse_config, types.load_configfile

    def parse_config(entries: Sequence[str] | Mapping[str, Any] | None) -> dict[str, Any]:
        if not entries or isinstance(entries, Mapping):
            return read_plain(entries)
        from nano4m_audio.config.command_line import read_entries

        return read_entries(entries, read_plain)

    def load_configfile(path: Any) -> dict[str, Any]:
        from nano4m_audio.config.plain import read_yaml

        return read_yaml(path, read_file)

    cli.parse_config = _one_line(parse_config)
    types.load_configfile = _one_line(load_configfile)
    configfile.load_configfile = _or_exit(load_configfile)
