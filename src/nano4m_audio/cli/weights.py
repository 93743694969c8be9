"""``nano4m-audio weights``: fetch, list, verify and add pretrained weights."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nano4m_audio.errors import UserError

if TYPE_CHECKING:
    from nano4m_audio.backends.download import Progress

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Pretrained weights: one list, one cache (NANO4M_AUDIO_CACHE), verified by SHA-256.",
)

Ids = Annotated[list[str] | None, typer.Argument(help="ids of the list")]
_LOG_EVERY_S = 10.0


@app.command(
    name="list",
    epilog="Example: nano4m-audio weights list",
)
def list_weights() -> None:
    """Show every entry: its state, size, licence and maker."""
    from nano4m_audio.backends import weights

    print(f"cache: {weights.cache_dir()}")
    for entry in weights.all_weights().values():
        here = [weights.path_of(entry.id, f).is_file() for f in entry.files]
        state = "here" if all(here) else f"{sum(here)} of {len(here)}" if any(here) else "missing"
        sizes = [f.size_bytes for f in entry.files]
        size = f"{sum(s or 0 for s in sizes) / 1e6:,.1f} MB" if max(s or 0 for s in sizes) else "?"
        print(f"{entry.id:<24} {state:<8} {size:>10}  {entry.licence}; {entry.made_by}")
        print(f"{'':<24} {entry.note}")


@app.command(epilog="Example: nano4m-audio weights fetch --config configs/paper.yaml")
def fetch(
    ids: Ids = None,
    config: Annotated[
        Path | None, typer.Option(help="fetch all that this config file names")
    ] = None,
) -> None:
    """Download what is not here yet; an interrupted download goes on where it stopped."""
    from nano4m_audio.backends import weights

    wanted = list(dict.fromkeys([*(ids or []), *(_needed_by(config) if config else [])]))
    if not wanted:
        raise UserError("nothing to fetch: name ids of `weights list`, or --config FILE")
    entries, problems = [weights.get_weights(weights_id) for weights_id in wanted], []
    for entry in entries:
        for file in entry.files:
            label = f"{entry.id}/{file.name}"
            try:
                with _shown(label) as progress:
                    new = weights.fetch(entry.id, file, progress)
                print(f"{label}: {'fetched' if new else 'already here'}", file=sys.stderr)
            except UserError as error:
                problems.append(str(error))
    if problems:
        raise UserError("\nerror: ".join(problems))


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
    """Copy files that you already have into the cache, if they are the right ones."""
    from nano4m_audio.backends import weights

    for file in files:
        print(weights.add_file(weights_id, file))


def _needed_by(config: Path) -> list[str]:
    """The weights ids of all backends that a config file names."""
    from nano4m_audio.backends import get_spec
    from nano4m_audio.config import BACKEND_KEYS
    from nano4m_audio.config.reading import load_config

    named = load_config(config).backends()
    specs = [get_spec(BACKEND_KEYS[key], name) for key, name in named.items()]
    return [spec.weights for spec in specs if spec.weights]


@contextmanager
def _shown(label: str) -> Iterator[Progress]:
    """A callback that shows progress: a live bar on a terminal, a line now and then in a log."""
    if not sys.stderr.isatty():
        yield _Lines(label)
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


class _Lines:
    """Prints how far a download is, every few seconds."""

    def __init__(self, label: str) -> None:
        self.label, self.last = label, time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        if time.monotonic() - self.last > _LOG_EVERY_S:
            self.last = time.monotonic()
            of = f" of {total / 1e6:,.0f}" if total else ""
            print(f"{self.label}: {done / 1e6:,.0f}{of} MB", file=sys.stderr)
