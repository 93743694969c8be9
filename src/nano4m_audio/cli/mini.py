"""``nano4m-audio mini ...``: the recipe of the mini family, one command per step.

``snakemake mini`` runs data, train and card; install is left to a person.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nano4m_audio.cli.options import example

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Train, measure and install the small models of this project.",
)

Seed = Annotated[int, typer.Option(help="first barnyard seed of the training data")]
Views = Annotated[int, typer.Option(help="pictures to render")]
Sounds = Annotated[int, typer.Option(help="sounds to render")]
Weights = Annotated[Path, typer.Option(help="folder of trained weights")]
Card = Annotated[Path, typer.Option(help="model card, JSON")]
Page = Annotated[Path, typer.Option(help="model card as a Markdown page")]
SEED = 1000
TRAINED = Path("results/mini")


@app.command(epilog=example("mini data --folder results/mini/data --views 22 --sounds 22"))
def data(
    folder: Annotated[Path, typer.Option(help="folder to write to")] = TRAINED / "data",
    seed: Seed = SEED,
    views: Views = 7040,
    sounds: Sounds = 6050,
    workers: Annotated[int, typer.Option(help="processes that render")] = 1,
) -> None:
    """Render the training data: barnyard pictures with depth and normals, and sounds."""
    from nano4m_audio.minitrain.data import make_data

    make_data(folder, seed=seed, views=views, sounds=sounds, workers=workers)


@app.command(
    epilog=example("mini train dense --steps 2 --out results/mini/weights/dense.safetensors")
)
def train(
    member: Annotated[str, typer.Argument(help="member of the family")],
    out: Annotated[Path, typer.Option(help="weights to write")],
    data: Annotated[Path, typer.Option(help="folder of the training data")] = TRAINED / "data",
    seed: Seed = SEED,
    steps: Annotated[int, typer.Option(help="steps; 0: as in the recipe")] = 0,
    threads: Annotated[int, typer.Option(help="CPU threads to use")] = 1,
) -> None:
    """Train one member of the family."""
    from nano4m_audio.minitrain.members import train_member

    train_member(member, out, data=data, seed=seed, steps=steps or None, threads=threads)


@app.command(epilog=example("mini card --weights results/mini/weights --views 11 --sounds 11"))
def card(
    weights: Weights = TRAINED / "weights",
    seed: Seed = SEED,
    views: Views = 440,
    sounds: Sounds = 440,
    card: Card = TRAINED / "card.json",
    page: Page = TRAINED / "MINI.md",
) -> None:
    """Measure all members on unseen seeds: the model card, as JSON and as a page."""
    from nano4m_audio.minitrain.card import write_card

    write_card(weights, seed=seed, views=views, sounds=sounds, card=card, page=page)


@app.command(epilog=example("mini install"))
def install(
    weights: Weights = TRAINED / "weights",
    card: Card = TRAINED / "card.json",
    docs: Annotated[Path, typer.Option(help="folder of the page MINI.md")] = Path("docs"),
) -> None:
    """Copy freshly trained weights and their card over the committed ones, and write the page."""
    from nano4m_audio.backends.registry import mini_card
    from nano4m_audio.minitrain.card import install as install_files

    install_files(weights, card, package=mini_card().parent, docs=docs)
