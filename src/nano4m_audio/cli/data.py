"""The stages from the source to tokens, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    STORE,
    Attempt,
    Backend,
    Classes,
    Device,
    DType,
    Links,
    Out,
    Results,
    Settings,
    Shard,
    Shards,
    Store,
    Threads,
    compute_options,
    example,
    named_classes,
    record,
)

app = typer.Typer()


@app.command(epilog=example("barnyard --out my_barnyard --settings '{\"clips\": 11}'"))
def barnyard(out: Out, settings: Settings = "{}", threads: Threads = 1) -> None:
    """Film the synthetic barnyard: clips with planted defects, and the truth about them."""
    from nano4m_audio.acquire.stage import film_barnyard
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.schema import Barnyard

    film_barnyard(out, parse_json(Barnyard, settings), threads)
    record([out / "clips.csv", out / "truth.csv"], [])


@app.command(
    epilog=example(
        'candidates --out results/candidates --shards 2 --settings \'{"root": "my_clips"}\''
    )
)
def candidates(
    out: Out,
    settings: Settings = "{}",
    shards: Annotated[int, typer.Option(help="number of shards to make")] = 4,
    classes: Classes = "",
) -> None:
    """List the candidate clips of a folder, one table per shard."""
    from nano4m_audio.acquire.stage import list_candidates
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.schema import Folder
    from nano4m_audio.shards import set_shards
    from nano4m_audio.tables import LISTING, shard_names

    section = parse_json(Folder, settings)
    list_candidates(section, named_classes(classes), shards, out)
    set_shards(out.parent, shards)
    listed = [Path(section.root, section.clips_csv)] if section.clips_csv else []
    record([*(out / f"{shard}.parquet" for shard in shard_names(shards)), out / LISTING], listed)


@app.command(
    epilog=example(
        "media --candidates results/candidates/0000.parquet --root my_clips "
        "--out results/media/0000.parquet"
    )
)
def media(
    candidates: Annotated[Path, typer.Option(help="candidates table")],
    root: Annotated[Path, typer.Option(help="folder that the paths are relative to")],
    out: Out,
    store: Store = STORE,
    links: Links = "inside",
    attempt: Attempt = 0,
) -> None:
    """Find each candidate's file, its size and its SHA-256."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stage import check_files

    check_files(candidates, root, out, links == "follow")
    record_attempt(store, "media", out.stem, attempt)
    record(out, [candidates])


@app.command(
    epilog=example(
        "decode --media results/media/0000.parquet --root my_clips --shard 0000 "
        "--out results/clips/0000.parquet"
    )
)
def decode(
    media: Annotated[Path, typer.Option(help="media table")],
    root: Annotated[Path, typer.Option(help="folder that the paths are relative to")],
    shard: Shard,
    out: Out,
    store: Store = STORE,
    settings: Settings = "{}",
    links: Links = "inside",
    attempt: Attempt = 0,
) -> None:
    """Decode every file once: frames with exact times, and one audio track."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stage import decode_clips
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.config.schema import Decode

    decode_clips(media, root, store, shard, out, parse_json(Decode, settings), links == "follow")
    record_attempt(store, "clips", shard, attempt)
    record(out, [media])


@app.command(
    epilog=example(
        "score audio --clips results/clips/0000.parquet --shard 0000 "
        "--out results/scores/audio/0000.parquet"
    )
)
def score(
    what: Annotated[Literal["audio", "visual", "speech", "fingerprints"], typer.Argument()],
    clips: Annotated[Path, typer.Option(help="clips table")],
    shard: Shard,
    out: Out,
    store: Store = STORE,
    settings: Settings = "{}",
    classes: Classes = "",
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Score clips: class of the sound, class of the picture, speech, or fingerprints of copies."""
    from nano4m_audio.config import curate as config
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate import score as scores

    names, compute = named_classes(classes), compute_options(device, dtype, threads)
    if what == "audio":
        section = parse_json(config.AudioScore, settings)
        scores.score_audio(clips, store, shard, out, section, names, compute)
    elif what == "visual":
        visual = parse_json(config.VisualScore, settings)
        scores.score_visual(clips, store, shard, out, visual, names, compute)
    elif what == "speech":
        speech = parse_json(config.SpeechScore, settings)
        scores.score_speech(clips, store, shard, out, speech, compute)
    else:
        scores.score_fingerprints(clips, store, shard, out)
    record(out, [clips])


@app.command(
    epilog=example('verdict --shard 0000 --settings \'{"audio_min": 0.4, "visual_min": null}\'')
)
def verdict(shard: Shard, results: Results = RESULTS, settings: Settings = "{}") -> None:
    """Compare scores with thresholds: accepted, or every reason why not."""
    from nano4m_audio.config.curate import Verdict
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate.verdict import INPUTS, verdicts

    verdicts(results, shard, parse_json(Verdict, settings))
    table = f"{shard}.parquet"
    record(results / "verdicts" / table, [results / name / table for name in INPUTS])


@app.command(epilog=example('split --settings \'{"unit": "group"}\''))
def split(shards: Shards = None, results: Results = RESULTS, settings: Settings = "{}") -> None:
    """Group copies, keep the best of each, and split by class and source without leaks."""
    from nano4m_audio.config.curate import Split
    from nano4m_audio.config.reading import parse_json
    from nano4m_audio.curate.split import INPUTS, partition
    from nano4m_audio.shards import count_shards, table_files

    section, number, out = parse_json(Split, settings), count_shards(results, shards), results
    partition(results, number, out / "split.parquet", out / "selected", section)
    record(
        [out / "split.parquet", *table_files(out, "selected", number)],
        [path for name in INPUTS for path in table_files(results, name, number)],
    )


@app.command(
    epilog=example(
        "label depth --selected results/selected/0000.parquet --shard 0000 --backend mini "
        "--out results/labels/depth/0000.parquet"
    )
)
def label(
    what: Annotated[Literal["depth", "normals"], typer.Argument()],
    selected: Annotated[Path, typer.Option(help="selected table")],
    shard: Shard,
    out: Out,
    backend: Backend,
    store: Store = STORE,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Estimate depth or surface normals of the keyframes."""
    from nano4m_audio.label.stage import label_clips

    compute = compute_options(device, dtype, threads)
    label_clips(what, selected, store, shard, out, backend, compute)
    record(out, [selected])


@app.command(
    epilog=example(
        "tokenize rgb --selected results/selected/0000.parquet --backend mini --shard 0000 "
        "--source results/clips/0000.parquet --out results/tokens/rgb/0000.parquet"
    )
)
def tokenize(
    modality: Annotated[Literal["rgb", "audio", "depth", "normals", "caption"], typer.Argument()],
    selected: Annotated[Path, typer.Option(help="selected table")],
    source: Annotated[Path, typer.Option(help="label table (depth, normals) or clips table")],
    shard: Shard,
    out: Out,
    backend: Backend,
    store: Store = STORE,
    template: Annotated[str, typer.Option(help="template of captions")] = "{caption}",
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Turn one modality of the selected clips into tokens."""
    from nano4m_audio.backends.registry import trained_files
    from nano4m_audio.tokenize.stage import Sources, tokenize_clips

    sources = Sources(selected, source, store, shard, template)
    tokenize_clips(modality, sources, out, backend, compute_options(device, dtype, threads))
    record(out, [selected, source, *trained_files(backend)])
