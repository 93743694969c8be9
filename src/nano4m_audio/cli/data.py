"""The stages from the source to tokens, one command each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from nano4m_audio.cli.options import (
    RESULTS,
    Attempt,
    Device,
    DType,
    DTypeOfEach,
    Labels,
    Modalities,
    Results,
    Settings,
    SettingsOfEach,
    Shard,
    Threads,
    compute_options,
    example,
    of_each,
    record,
    stage_settings,
)

app = typer.Typer()


@app.command(epilog=example("barnyard --results my_results --settings '{\"clips\": 11}'"))
def barnyard(results: Results = RESULTS, settings: Settings = None, threads: Threads = 1) -> None:
    """Film the synthetic barnyard: clips with planted defects, and the truth about them."""
    from nano4m_audio.acquire.stage import film_barnyard
    from nano4m_audio.config.sources import Barnyard

    film_barnyard(results, stage_settings(Barnyard, "barnyard", settings, results), threads)
    record([results / "barnyard/clips.csv", results / "barnyard/truth.csv"], [])


@app.command(
    epilog=example(
        'candidates --settings \'{"source": "folder", "folder": {"root": "my_clips"}, '
        '"n_shards": 2}\''
    )
)
def candidates(results: Results = RESULTS, settings: Settings = None) -> None:
    """List the candidate clips of the source, one table per shard."""
    from nano4m_audio.acquire.stage import list_candidates
    from nano4m_audio.config.sources import Candidates

    section = stage_settings(Candidates, "candidates", settings, results)
    list_candidates(results, section)
    source = section.chosen_source
    csv = source.folder(results.root).csv
    lists = [Path(path) for path in getattr(source, "lists", ())]
    tables = results.tables("candidates")
    record([*tables, results.listing], [*([csv] if csv else []), *lists])


@app.command(epilog=example("media --shard 0000"))
def media(
    shard: Shard, results: Results = RESULTS, settings: Settings = None, attempt: Attempt = 0
) -> None:
    """Find each candidate's file, its size and its SHA-256."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stage import check_files
    from nano4m_audio.config.sources import Files

    check_files(results, shard, stage_settings(Files, "media", settings, results))
    record_attempt(results, "media", shard, attempt)
    record(results.table("media", shard), [results.table("candidates", shard)])


@app.command(epilog=example("decode --shard 0000"))
def decode(
    shard: Shard, results: Results = RESULTS, settings: Settings = None, attempt: Attempt = 0
) -> None:
    """Decode every file once: frames with exact times, and one audio track."""
    from nano4m_audio.acquire.retry import record_attempt
    from nano4m_audio.acquire.stage import decode_clips
    from nano4m_audio.config.schema import DecodeFiles

    decode_clips(results, shard, stage_settings(DecodeFiles, "decode", settings, results))
    record_attempt(results, "clips", shard, attempt)
    record(results.table("clips", shard), [results.table("media", shard)])


@app.command(epilog=example("score audio --shard 0000"))
def score(
    what: Annotated[Literal["audio", "visual", "speech", "fingerprints"], typer.Argument()],
    shard: Shard,
    results: Results = RESULTS,
    settings: Settings = None,
    device: Device = "auto",
    dtype: DType = "float32",
    threads: Threads = 1,
) -> None:
    """Score clips: class of the sound, class of the picture, speech, or fingerprints of copies."""
    from nano4m_audio.config import curate as config
    from nano4m_audio.curate import score as scores

    stage = f"score-{what}"
    compute = compute_options(device, dtype, threads)
    if what == "audio":
        section = stage_settings(config.AudioStage, stage, settings, results)
        scores.score_audio(results, shard, section, compute)
    elif what == "visual":
        visual = stage_settings(config.VisualStage, stage, settings, results)
        scores.score_visual(results, shard, visual, compute)
    elif what == "speech":
        speech = stage_settings(config.SpeechScore, stage, settings, results)
        scores.score_speech(results, shard, speech, compute)
    else:
        scores.score_fingerprints(results, shard)
    record(results.table(f"scores/{what}", shard), [results.table("clips", shard)])


@app.command(
    epilog=example('verdict --shard 0000 --settings \'{"audio_min": 0.4, "visual_min": null}\'')
)
def verdict(shard: Shard, results: Results = RESULTS, settings: Settings = None) -> None:
    """Compare scores with thresholds: accepted, or every reason why not."""
    from nano4m_audio.config.curate import Verdict
    from nano4m_audio.curate.verdict import INPUTS, verdicts

    verdicts(results, shard, stage_settings(Verdict, "verdict", settings, results))
    record(results.table("verdicts", shard), [results.table(name, shard) for name in INPUTS])


@app.command(epilog=example('split --settings \'{"unit": "group"}\''))
def split(results: Results = RESULTS, settings: Settings = None, threads: Threads = 1) -> None:
    """Group copies, keep the best of each, and split by class and source without leaks."""
    from nano4m_audio.config.curate import Split
    from nano4m_audio.curate.split import INPUTS, split_clips

    split_clips(results, stage_settings(Split, "split", settings, results), threads)
    inputs = [path for name in INPUTS for path in results.tables(name)]
    record([results.split, *results.tables("selected")], inputs)


@app.command(epilog=example('label depth --shard 0000 --settings \'{"backend": "mini"}\''))
def label(
    modalities: Labels,
    shard: Shard,
    results: Results = RESULTS,
    settings: SettingsOfEach = None,
    device: Device = "auto",
    dtype: DTypeOfEach = None,
    threads: Threads = 1,
) -> None:
    """Estimate modalities, such as depth and surface normals, of the keyframes."""
    from nano4m_audio.config.tokenizers import LabelSettings
    from nano4m_audio.label.stage import label_clips
    from nano4m_audio.modalities import LABELS

    for modality, told, kind in of_each(modalities, LABELS, settings, dtype):
        name = f"label-{modality}"
        section = stage_settings(LabelSettings, name, told, results, modality=modality)
        label_clips(results, shard, section, compute_options(device, kind, threads))
        record(results.table(f"labels/{modality}", shard), [results.table("selected", shard)])


@app.command(epilog=example('tokenize rgb --shard 0000 --settings \'{"backend": "mini"}\''))
def tokenize(
    modalities: Modalities,
    shard: Shard,
    results: Results = RESULTS,
    settings: SettingsOfEach = None,
    device: Device = "auto",
    dtype: DTypeOfEach = None,
    threads: Threads = 1,
) -> None:
    """Turn modalities of the selected clips into tokens."""
    from nano4m_audio.backends.registry import trained_files
    from nano4m_audio.config.tokenizers import TokenizeSettings
    from nano4m_audio.modalities import MODALITIES
    from nano4m_audio.tokenize.names import backend_name
    from nano4m_audio.tokenize.stage import tokenize_clips

    for modality, told, kind in of_each(modalities, MODALITIES, settings, dtype):
        name = f"tokenize-{modality}"
        section = stage_settings(TokenizeSettings, name, told, results, modality=modality)
        tokenize_clips(results, shard, section, compute_options(device, kind, threads))
        tables = [results.table(name, shard) for name in ("selected", MODALITIES[modality].source)]
        weights = trained_files(backend_name(section.backend, results))
        record(results.table(f"tokens/{modality}", shard), [*tables, *weights])
