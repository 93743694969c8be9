"""The command line: one command per stage, the only entry that the Snakemake rules call.

Every stage takes its config section as ``--settings``, JSON or a file that holds it (absent: the
defaults), reads and writes named files, and can be pasted and run by hand. Stages are imported
inside their commands, so that ``--help`` stays quick, and commands when they are asked for: a run
starts some thirty of them.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import os
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_group

from nano4m_audio.cli.options import example, read_config
from nano4m_audio.cli.without import without
from nano4m_audio.errors import UserError
from nano4m_audio.shared_store import begin_job

#: Turns that a waiting thread of OpenMP spins before it sleeps, some microseconds.
SPINS = "1000"

#: The commands in the order in which a newcomer needs them.
SECTIONS = {
    "Before a run": ("check", "config", "weights", "classes"),
    "During a run": ("status",),
    "Of a finished run": (
        *("clips", "generate", "export", "import", "audit", "release", "verify", "publish"),
        *("experiments", "study", "du", "gc"),
    ),
    "Stages, which snakemake runs one after the other": (
        *("barnyard", "candidates", "fetch", "media", "decode", "score", "verdict", "split"),
        *("label", "tokenize", "train", "evaluate", "generations", "proof", "report", "browse"),
    ),
    "Models of your own": ("tokenizer", "mini"),
}


#: Which Typer of this folder makes which commands ...
_APPS = {
    "data:app": (
        *("barnyard", "candidates", "media", "decode", "score", "verdict", "split", "label"),
        "tokenize",
    ),
    "web:app": ("fetch",),
    "model:app": ("train", "evaluate", "experiments", "study", "generations", "report"),
    "generate:app": ("generate",),
    "publish:app": ("audit", "proof", "release", "verify"),
    "tools:app": ("clips", "check", "du", "gc"),
    "status:app": ("status",),
    "upload:app": ("publish",),
}
#: ... and which group of them.
_GROUPS = {
    **{name: f"{name}:app" for name in ("browse", "classes", "mini", "tokenizer", "weights")},
    **{name: f"interchange:{name}_app" for name in ("export", "import")},
}
#: Name of a command -> its Typer, and the name of that if it is a group.
HOMES: dict[str, tuple[str, str | None]] = {
    **{name: (home, None) for home, names in _APPS.items() for name in names},
    **{name: (home, name) for name, home in _GROUPS.items()},
}
_LOOK: dict[str, Any] = {
    "add_completion": False,
    "pretty_exceptions_enable": False,
    "rich_markup_mode": None,
}


class Sections(TyperGroup):
    """The commands, each imported when it is asked for; help lists them by section."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in self.commands:
            self.load(*([cmd_name] if cmd_name in HOMES else HOMES))
        return self.commands.get(cmd_name)

    def list_commands(self, ctx: Any) -> list[str]:
        self.load(*HOMES)
        return list(self.commands)

    def load(self, *names: str) -> None:
        """Import the commands of these names."""
        for home, group in dict.fromkeys(HOMES[name] for name in names):
            module, _, made = home.partition(":")
            one = typer.Typer(**_LOOK)
            one.add_typer(
                getattr(importlib.import_module(f"nano4m_audio.cli.{module}"), made), name=group
            )
            self.commands.update(get_group(one).commands)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = [name for names in SECTIONS.values() for name in names]
        others = tuple(name for name in self.list_commands(ctx) if name not in listed)
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, names in {**SECTIONS, "Others": others}.items():
            here = [(name, self.commands[name]) for name in names if name in self.commands]
            if rows := [(name, one.get_short_help_str(width)) for name, one in here]:
                with formatter.section(title):
                    formatter.write_dl(rows)


app = typer.Typer(
    cls=Sections,
    no_args_is_help=True,
    **_LOOK,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="From labelled web video to five-modality tokens, a small 4M model and a report. "
    "Everything at once: snakemake --cores 8 results/report.html",
    epilog="Each command has an example: nano4m-audio generate --help",
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        print(f"nano4m-audio {version('nano4m-audio')}")
        raise typer.Exit()


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    pass


@app.command(name="config", epilog=example("config configs/grid_demo.yaml"))
def show_config(
    files: Annotated[
        list[Path] | None, typer.Argument(help="config files, each laid over those before it")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="list the rarer keys, too")] = False,
) -> None:
    """Check config files and print what they say together, or list the keys with default and
    meaning."""
    import yaml

    from nano4m_audio.config.reading import COMMON, describe, rank

    if files:
        values = read_config(files).model_dump(mode="json")
        print(yaml.safe_dump(values, sort_keys=False, allow_unicode=True), end="")
        return
    rows = sorted(describe(), key=lambda row: rank(row[0]))
    shown = [row for row in rows if every or rank(row[0]) < len(COMMON)]
    for key, default, meaning in shown:
        print(f"{key} = {default}\n    {meaning}")
    if not every:
        print(f"{len(rows) - len(shown)} more: nano4m-audio config --all")


def command_line() -> Sections:
    """All commands, imported: for who looks at them."""
    group = get_group(app)
    assert isinstance(group, Sections)
    group.load(*HOMES)
    return group


def main() -> None:
    """Run the command line; a UserError is one line on stderr, and its exit status.

    It may quote a file of unknown origin: what could move the cursor is taken out.
    """
    # Python looks for garbage among all objects once more before it ends, for a tenth of a job that
    # has nothing to compute: those that are frozen it leaves alone.
    atexit.register(gc.freeze)
    without("pandas")
    share_cores(os.environ)
    try:
        begin_job(sys.argv)
        app()
    except UserError as error:
        _say(str(error))
        raise SystemExit(error.exit_status) from None
    except OSError as error:  # of a file that is not ours to read, or of a disk
        if error.filename is None or not error.strerror:
            raise
        _say(f"{error.filename} cannot be used ({error.strerror}): put that right and run again")
        raise SystemExit(1) from None


def share_cores(environment: MutableMapping[str, str]) -> None:
    """Let threads of OpenMP wait for each other asleep, unless the user says how they are to wait.

    They spin by default. Beside another process on the same cores, the one that is waited for
    then does not run, and a small product takes up to ten times as long. To be called before torch
    is imported: libgomp reads it when it is loaded.
    """
    if "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", SPINS)


def _say(message: str) -> None:
    from nano4m_audio.running import printable

    lines = f"error: {message}".split("\n")
    print(*(printable(line, most=20_000) for line in lines), sep="\n", file=sys.stderr)
