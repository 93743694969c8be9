"""Looking after a results folder: its clips as a list, a check before a run, disk, clean-up."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio import paths
from nano4m_audio.cli.options import RESULTS, example, read_config
from nano4m_audio.errors import UserError

app = typer.Typer()

Folder = Annotated[
    paths.Results,
    typer.Argument(
        parser=lambda text: paths.Results(Path(text)),
        metavar="[RESULTS]",
        help="folder with the artifacts of all stages",
    ),
]


def _size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"


@app.command(
    epilog=example("clips results --rejected --reason speech --class dog --csv --out speech.csv")
)
def clips(
    results: Folder = RESULTS,
    kept: Annotated[bool, typer.Option("--kept", help="only clips that became data")] = False,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="only clips that did not, copies among them")
    ] = False,
    reason: Annotated[
        list[str] | None, typer.Option(help="only these reasons, such as speech or duplicate")
    ] = None,
    class_: Annotated[list[str] | None, typer.Option("--class", help="only these classes")] = None,
    split: Annotated[
        list[str] | None, typer.Option(help="only these splits: train, val, test")
    ] = None,
    sort: Annotated[
        str, typer.Option(help="column to sort by: class, file, ... or a score, such as audio")
    ] = "",
    reverse: Annotated[bool, typer.Option("--reverse", help="the other way round")] = False,
    near: Annotated[
        str,
        typer.Option(help="a threshold, such as audio_min: the clips closest to it come first"),
    ] = "",
    csv: Annotated[bool, typer.Option("--csv", help="CSV on a terminal, too")] = False,
    out: Annotated[Path | None, typer.Option(help="write the CSV to this file")] = None,
) -> None:
    """List candidate clips with class, source, file, scores, reasons, split and what they copy.

    A table on a terminal, CSV elsewhere. An option that takes a word may be given several times.
    """
    from nano4m_audio.config.curate import Verdict
    from nano4m_audio.config.parsing import parse_json
    from nano4m_audio.files import atomic_path
    from nano4m_audio.settings_files import last_settings
    from nano4m_audio.upkeep import clip_list

    if out and out.is_dir():
        raise UserError(f"--out {out} is a folder: name a file in it, such as {out / 'clips.csv'}")
    words = reason or (), class_ or (), split or ()
    wanted = clip_list.Wanted(kept, rejected, *words, sort, reverse, near)
    told = last_settings(results.settings, "verdict") if near else None
    limits = parse_json(Verdict, str(told)) if told else Verdict()
    table = clip_list.read_clip_list(results)
    found = clip_list.select(table, wanted, limits)
    if out:
        with atomic_path(out) as temp, open(temp, "w", encoding="utf-8", newline="") as handle:
            clip_list.write_csv(found, handle)
    try:
        if not out and (csv or not sys.stdout.isatty()):
            clip_list.write_csv(found, sys.stdout)
        elif not out:
            for line in clip_list.lines(found, shutil.get_terminal_size().columns):
                print(line)
        sys.stdout.flush()
    except BrokenPipeError:  # its reader has seen enough, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    print(f"{len(found):,} of {len(table):,} clips", file=sys.stderr)


@app.command(epilog=example("check my_project/clips --directory my_project"))
def check(
    what: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER | CONFIG...",
            help="a folder with clips, or config files, each laid over those before it",
        ),
    ],
    config: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="as --config of snakemake; may be repeated"),
    ] = None,
    directory: Annotated[
        Path | None, typer.Option(help="as --directory of snakemake: where the results go")
    ] = None,
    cores: Annotated[int, typer.Option(min=1, help="as --cores of snakemake")] = os.cpu_count()
    or 1,
) -> None:
    """Say in seconds whether a run can begin: files, classes, lengths, lists, weights, packages,
    disk, time, memory and GPU. Nothing is run.

    Ends with the command that begins the run, or with every problem in a line, and status 1.
    """
    from nano4m_audio.upkeep.plan import plan_of
    from nano4m_audio.upkeep.readiness import Readiness, check_config

    begun, ready = plan_of(what, config or (), directory, cores), Readiness()
    if found := ready.trying(read_config, begun.files, begun.values):
        with begun.inside():
            ready = check_config(found, RESULTS, cores)
    for fact in ready.facts:
        print(fact)
    for problem in ready.problems:
        print(f"problem: {problem}")
    if ready.problems:
        raise typer.Exit(1)
    print(f"ready: {begun.command}")


@app.command(epilog=example("du results"))
def du(results: Folder = RESULTS) -> None:
    """Say what a results folder takes on the disk, by stage, and how much of the store nothing
    names any more (see gc)."""
    from nano4m_audio.upkeep.usage import usage

    uses, notes = usage(results)
    width = max(len(use.what) for use in uses)
    print(f"{'':{width}}  {'size':>12}  {'rows':>9}  {'named by nothing':>16}")
    for use in uses:
        rows = f"{use.rows:,}" if use.rows else ""
        unnamed = _size(use.unnamed_bytes) if use.unnamed_bytes else ""
        more = f" ({use.unnamed_rows:,} rows)" if use.unnamed_rows else ""
        print(f"{use.what:{width}}  {_size(use.size_bytes):>12}  {rows:>9}  {unnamed:>16}{more}")
    total, unnamed = (sum(getattr(u, n) for u in uses) for n in ("size_bytes", "unnamed_bytes"))
    print(
        f"{'total':{width}}  {_size(total):>12}  {'':>9}  {_size(unnamed) if unnamed else '-':>16}"
    )
    for note in notes:
        print(f"note: {note}")


@app.command(epilog=example("gc results --delete"))
def gc(
    results: Folder = RESULTS,
    delete: Annotated[
        bool, typer.Option("--delete", help="remove it; else it is only named")
    ] = False,
    unfinished: Annotated[
        bool, typer.Option("--unfinished", help="also trainings that could go on")
    ] = False,
    pieces: Annotated[
        bool,
        typer.Option("--pieces", help="also fetched films that no candidate of now is cut from"),
    ] = False,
) -> None:
    """Find what of the store no table, run or page names any more, and remove it when asked to.

    What a changed threshold or another model left behind is kept by a run, so that going back
    computes nothing; this gives the space back. What is there now stays, and a run after it has
    nothing to do.
    """
    from nano4m_audio.upkeep.garbage import Options, collect

    freed, found = collect(results, delete, Options(unfinished, pieces))
    for one in freed:
        print(f"{one.kind}: {one.count:,}, about {_size(one.size_bytes)}")
    for note in found.notes:
        print(f"note: {note}")
    total = _size(sum(one.size_bytes for one in freed))
    if not freed:
        print("everything that is there is in use: nothing to remove")
    elif delete:
        print(f"removed about {total}")
    else:
        print(f"about {total} could go; nothing was removed: nano4m-audio gc {results} --delete")
