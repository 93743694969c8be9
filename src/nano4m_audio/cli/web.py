"""What is asked of the web: fetch, and what it says about itself."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    Attempt,
    Results,
    Settings,
    example,
    record,
    stage_settings,
)

app = typer.Typer()


@app.command(epilog=example("fetch --plan"))
def fetch(
    results: Results = RESULTS,
    settings: Settings = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="ask for nothing: say how long it takes, what is gone")
    ] = False,
    probe: Annotated[
        bool,
        typer.Option("--probe", help="ask for five videos: is this address walled?"),
    ] = False,
    explain: Annotated[
        str | None, typer.Option(metavar="ID", help="what a video answered, and what that means")
    ] = None,
    retry: Annotated[
        Literal["transient", "long", "all"] | None,
        typer.Option(help="ask again for what waits or was given up, by the kind of its fault"),
    ] = None,
    attempt: Attempt = 0,
) -> None:
    """Fetch the listed segments from the web; goes on where it stopped.

    Exit status 75: the site refuses this address; the same command goes on later.
    """
    from nano4m_audio.acquire.source_record import check_fetched
    from nano4m_audio.config.sources import Web
    from nano4m_audio.fetch import stage

    check_fetched(results.root)
    section = stage_settings(Web, "fetch", settings, results)
    if plan or probe or explain is not None:
        from nano4m_audio.fetch import tell

        if explain is not None:
            tell.tell_video(results, explain)
        elif plan:
            tell.tell_plan(results, section)
        else:
            tell.tell_address(results, section)
        return
    stage.fetch_segments(results, section, retry or "", attempt)
    record([*results.tables("fetched"), results.fetched], results.tables("candidates"))
