"""Where a run stands: what is done, running, waiting and failed, and how long it will take."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from nano4m_audio.cli.options import RESULTS, example
from nano4m_audio.cli.tools import Folder

app = typer.Typer()


@app.command(epilog=example("status results --shards"))
def status(
    results: Folder = RESULTS,
    shards: Annotated[bool, typer.Option("--shards", help="a line for every job")] = False,
    stage: Annotated[
        str,
        typer.Option(help="a line for every job of this stage, such as decode or label"),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="everything, for programs")] = False,
) -> None:
    """Say where the last run stands: which jobs of which stage are done, at work, waiting or
    failed, on which machine, and how long the rest will take.

    Only files are read: at any time, during a run, after a kill, and on any machine that sees them.
    """
    from nano4m_audio.upkeep import status_lines
    from nano4m_audio.upkeep.status import look, matching

    now = look(results)
    chosen = matching(now, stage)
    if as_json:
        print(json.dumps(status_lines.as_json(now, chosen), indent=1))
        return
    if shards or stage:
        lines = [*status_lines.head(now), "", *status_lines.job_rows(chosen)]
    else:
        lines = list(status_lines.overview(now))
    for line in lines:
        print(line)
