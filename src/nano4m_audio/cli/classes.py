"""Lists of classes, written as config files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio.cli.options import example

app = typer.Typer(no_args_is_help=True, help="Write lists of classes as config files.")


@app.callback()
def _group() -> None:
    pass


@app.command(epilog=example("classes vggsound --out configs/vggsound_full.yaml"))
def vggsound(out: Annotated[Path, typer.Option(help="config file to write")]) -> None:
    """Write a config with all 309 labels of VGGSound as classes."""
    from nano4m_audio.files import write_bytes
    from nano4m_audio.taxonomy import vggsound_config

    write_bytes(out, vggsound_config().encode())
