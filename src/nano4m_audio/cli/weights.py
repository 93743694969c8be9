"""``nano4m-audio weights``: fetch, list, verify and add pretrained weights."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nano4m_audio.errors import UserError

if TYPE_CHECKING:
    from nano4m_audio.backends.download import Progress
    from nano4m_audio.backends.weights import WeightFile, Weights

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Pretrained weights: one list, one cache (NANO4M_AUDIO_CACHE), verified by SHA-256.",
)

Ids = Annotated[list[str] | None, typer.Argument(help="ids of the list")]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="all that the backends of this config file need")
]
Revision = Annotated[
    str | None, typer.Option(help="commit to take of an entry whose list pins none: 40 digits")
]
_LOG_EVERY_S = 10.0


@app.command(name="list", epilog="Example: nano4m-audio weights list --config configs/paper.yaml")
def list_weights(ids: Ids = None, config: ConfigFile = None) -> None:
    """Show every entry, or some: its state, size, licence and maker; and the size of all."""
    from nano4m_audio.backends import weights

    entries = _entries(ids, config) or list(weights.all_weights().values())
    print(f"cache: {weights.cache_dir()}")
    for entry in entries:
        here = [weights.path_of(entry.id, f).is_file() for f in entry.files]
        state = "here" if all(here) else f"{sum(here)} of {len(here)}" if any(here) else "missing"
        size = _sum([(entry, f) for f in entry.files])
        print(f"{entry.id:<24} {state:<8} {size:>14}  {entry.licence}; {entry.made_by}")
        print(f"{'':<24} {entry.note}")
    files = [(entry, file) for entry in entries for file in entry.files]
    absent = [(e, f) for e, f in files if not weights.path_of(e.id, f).is_file()]
    print(f"all: {_sum(files)}; not here yet: {_sum(absent) if absent else 'nothing'}")
    if unlisted := [(e, f) for e, f in absent if f.size_bytes is None]:
        known = any(f.about_bytes for _, f in unlisted)
        print(
            "sizes that their makers do not publish are "
            + ("estimated from the number of parameters (about) or " if known else "")
            + "unknown until the file is fetched"
        )


def _sum(files: Sequence[tuple[Weights, WeightFile]]) -> str:
    """The size of these files together: what lies here, what is listed, what is estimated."""
    from nano4m_audio.backends import weights
    from nano4m_audio.backends.download import size_text

    total, about, unknown = 0, False, 0
    for entry, file in files:
        path = weights.path_of(entry.id, file)
        size = path.stat().st_size if path.is_file() else file.size_bytes
        about |= size is None and file.about_bytes is not None
        size = file.about_bytes if size is None else size
        unknown += size is None
        total += size or 0
    if unknown == len(files):
        return "unknown"
    return (
        f"{'about ' if about else ''}{size_text(total)}"
        f"{f' and {unknown} of unknown size' if unknown else ''}"
    )


@app.command(epilog="Example: nano4m-audio weights fetch --config configs/paper.yaml")
def fetch(ids: Ids = None, config: ConfigFile = None, revision: Revision = None) -> None:
    """Download what is not here yet; an interrupted download goes on where it stopped."""
    from nano4m_audio.backends import network, weights

    entries = _entries(ids, config)
    if revision and len(entries) != 1:
        raise UserError("--revision is a commit of one entry: name that alone")
    if not entries:
        raise UserError("nothing to fetch: name ids of `weights list`, or --config FILE")
    files = [(entry.id, file) for entry in entries for file in entry.files]
    absent = [file for weights_id, file in files if not weights.is_here(weights_id, file)]
    silent = {}
    if not weights.is_offline():
        silent = network.unreachable(url for file in absent for url in file.urls)
    problems: dict[str, list[str]] = {}
    failed: dict[str, list[WeightFile]] = {}
    for weights_id, file in files:
        label = f"{weights_id}/{file.name}"
        try:
            with _shown(label) as progress:
                new = weights.fetch(weights_id, file, progress, silent, revision)
            print(f"{label}: {'fetched' if new else 'already here'}", file=sys.stderr)
        except weights.NotFetched as error:
            problems.setdefault(error.why, []).append(label)
            failed.setdefault(weights_id, []).append(file)
    if problems:
        lines = [f"{', '.join(labels)}: {why}" for why, labels in problems.items()]
        raise UserError("\nerror: ".join(lines) + f"\n{weights.advice(failed)}")


@app.command(epilog="Example: nano4m-audio weights verify panns_cnn14")
def verify(ids: Ids = None) -> None:
    """Hash every file that is here again (or all files of the named ids) and compare."""
    from nano4m_audio.backends import weights

    entries = [weights.get_weights(i) for i in ids] if ids else weights.all_weights().values()
    wrong = 0
    for entry in entries:
        for file in entry.files:
            if not ids and not weights.path_of(entry.id, file).is_file():
                continue
            problem = weights.problem(entry.id, file)
            wrong += bool(problem)
            print(f"{entry.id}/{file.name}: {problem or 'ok'}")
    if wrong:
        raise UserError(f"{wrong} file(s) are not what they should be: fetch them again")


@app.command(epilog="Example: nano4m-audio weights add yamnet downloads/yamnet.tflite")
def add(
    weights_id: Annotated[str, typer.Argument(help="id of the list")],
    files: Annotated[list[Path], typer.Argument(help="files with the names in the list")],
) -> None:
    """Copy files that you already have into the cache: those that are the right ones."""
    from nano4m_audio.backends import weights

    problems, added = [], 0
    for file in files:
        try:
            print(weights.add_file(weights_id, file))
            added += 1
        except UserError as error:
            problems.append(str(error))
    left = weights.missing_files([weights_id]).get(weights_id)
    if added and left:
        print(f"still missing: {', '.join(f.name for f in left)}", file=sys.stderr)
    if problems:
        raise UserError("\nerror: ".join(problems))


def _entries(ids: Sequence[str] | None, config: Path | None) -> list[Weights]:
    """The named entries and those that the backends of a config file need."""
    from nano4m_audio.backends import weights
    from nano4m_audio.config.reading import load_config
    from nano4m_audio.prerequisites import backend_uses, weights_of

    needed = weights_of(backend_uses(load_config(config))) if config else {}
    return [weights.get_weights(i) for i in dict.fromkeys([*(ids or []), *needed])]


@contextmanager
def _shown(label: str) -> Iterator[Progress]:
    """A callback that shows progress: a live bar on a terminal, a line now and then in a log."""
    if not sys.stderr.isatty():
        yield _lines(label)
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns = (
        rich_progress.TextColumn("{task.description}"),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn(),
        rich_progress.TransferSpeedColumn(),
        rich_progress.TimeRemainingColumn(),
    )
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _lines(label: str) -> Progress:
    """Prints how far a download is, every few seconds."""
    from nano4m_audio.backends.download import size_text

    last = time.monotonic()

    def show(done: int, total: int | None) -> None:
        nonlocal last
        if time.monotonic() - last > _LOG_EVERY_S:
            last = time.monotonic()
            of = f" of {size_text(total)}" if total else ""
            print(f"{label}: {size_text(done)}{of}", file=sys.stderr)

    return show
