"""Put a finished run where others find it: S3, or the Hugging Face Hub."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio import paths
from nano4m_audio.cli.options import example

app = typer.Typer()


@app.command(epilog=example("publish results hf://datasets/USER/NAME --dry-run"))
def publish(
    results: Annotated[
        paths.Results,
        typer.Argument(
            parser=lambda text: paths.Results(Path(text)),
            metavar="RESULTS",
            help="folder with the artifacts of all stages",
        ),
    ],
    address: Annotated[
        str,
        typer.Argument(metavar="ADDRESS", help="s3://BUCKET/PREFIX or hf://datasets/USER/NAME"),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="only say what would go")] = False,
    frames: Annotated[
        bool, typer.Option("--frames", help="keyframes in the dataset, too, JPEG")
    ] = False,
    sound: Annotated[
        bool, typer.Option("--sound", help="audio windows in the dataset, too, FLAC")
    ] = False,
    clips: Annotated[
        bool, typer.Option(help="also clips.html with its pictures and sounds")
    ] = True,
    public: Annotated[
        bool, typer.Option("--public", help="a dataset that is new on the Hub is for everyone")
    ] = False,
) -> None:
    """Upload tokens as Parquet with their card, the pages, and a manifest with every SHA-256.

    What is there with the same digest is skipped, so the same command goes on after a stop.
    Credentials are those of the aws and hf commands. Nothing that is there is removed.
    """
    from nano4m_audio.publish.run import What
    from nano4m_audio.publish.run import publish as run

    done = run(results, address, What(frames, sound, clips), public, dry_run)
    for file in done.sent if dry_run else ():
        print(file.name)
    word = "would be uploaded" if dry_run else "uploaded"
    print(
        f"{address}: {len(done.sent):,} of {len(done.files):,} files {word}, the others are there"
    )
