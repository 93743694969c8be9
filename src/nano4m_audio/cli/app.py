"""The command line: one command per stage, the only entry that the Snakemake rules call.

Every stage takes its config section as ``--settings``, JSON or a file that holds it (absent: the
defaults), reads and writes named files, and can be pasted and run by hand. Stages are imported
inside their commands, so that ``--help`` stays quick.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nano4m_audio.cli import (
    browse,
    classes,
    data,
    generate,
    mini,
    model,
    publish,
    tokenizer,
    tools,
    web,
    weights,
)
from nano4m_audio.cli.interchange import export_app, import_app
from nano4m_audio.cli.options import example, read_config
from nano4m_audio.errors import UserError

#: The commands in the order in which a newcomer needs them.
SECTIONS = {
    "Before a run": ("check", "config", "weights", "classes"),
    "Of a finished run": (
        *("clips", "generate", "export", "import", "audit", "release", "verify"),
        *("experiments", "study", "du", "gc"),
    ),
    "Stages, which snakemake runs one after the other": (
        *("barnyard", "candidates", "fetch", "media", "decode", "score", "verdict", "split"),
        *("label", "tokenize", "train", "evaluate", "generations", "proof", "report", "browse"),
    ),
    "Models of your own": ("tokenizer", "mini"),
}


class Sections(TyperGroup):
    """A group of commands whose help lists them by section."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        listed = [name for names in SECTIONS.values() for name in names]
        others = tuple(name for name in self.commands if name not in listed)
        width = formatter.width - 6 - max(map(len, self.commands))
        for title, names in {**SECTIONS, "Others": others}.items():
            here = [(name, self.commands[name]) for name in names if name in self.commands]
            if rows := [(name, one.get_short_help_str(width)) for name, one in here]:
                with formatter.section(title):
                    formatter.write_dl(rows)


app = typer.Typer(
    cls=Sections,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
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


app.add_typer(data.app)
app.add_typer(web.app)
app.add_typer(model.app)
app.add_typer(generate.app)
app.add_typer(publish.app)
app.add_typer(tools.app)
app.add_typer(browse.app, name="browse")
app.add_typer(classes.app, name="classes")
app.add_typer(mini.app, name="mini")
app.add_typer(tokenizer.app, name="tokenizer")
app.add_typer(weights.app, name="weights")
app.add_typer(export_app, name="export")
app.add_typer(import_app, name="import")


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


def main() -> None:
    """Run the command line; a UserError is one line on stderr, and its exit status."""
    try:
        app()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_status) from None
