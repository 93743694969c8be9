"""``nano4m-audio browse ...``: the page on which every clip can be seen and heard."""

from __future__ import annotations

from pathlib import Path

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    Results,
    Settings,
    Shard,
    example,
    record,
    stage_settings,
)

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make results/clips.html, the page on which every clip can be seen and heard.",
)


@app.command(epilog=example("browse media --shard 0000"))
def media(shard: Shard, results: Results = RESULTS, settings: Settings = None) -> None:
    """Write the pictures and sounds of a shard's clips, as far as they are not there."""
    from nano4m_audio.browser.inputs import shard_inputs
    from nano4m_audio.browser.stage import show_shard
    from nano4m_audio.config.schema import ClipMediaSettings

    told = stage_settings(ClipMediaSettings, "clip_media", settings, results)
    show_shard(results, shard, told)
    truth = [Path(told.truth)] if told.truth else []
    record(results.clip_media(shard), [*shard_inputs(results, shard), *truth])


@app.command(epilog=example("browse page"))
def page(results: Results = RESULTS, settings: Settings = None) -> None:
    """Write the page, once there are the media of every shard."""
    from nano4m_audio.browser.inputs import page_inputs
    from nano4m_audio.browser.stage import build_page
    from nano4m_audio.config.schema import ClipsPageSettings

    told = stage_settings(ClipsPageSettings, "clips_page", settings, results)
    build_page(results, told)
    truth = [Path(told.truth)] if told.truth else []
    record(results.clips_page, [*page_inputs(results), *truth])
