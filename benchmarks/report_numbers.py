"""The numbers of docs/BENCHMARKS.md's "The demo's report", as Markdown, from a results folder.

    python benchmarks/report_numbers.py [results] [--experiment base]

Probes come from results/evaluation/EXPERIMENT/PROBE.json (metrics[].value, low, high, n, groups,
chance, baseline.verdict), tokenizers from results/quality/MODALITY/NAME.json, precision and recall
are counted again from the tables of the run and the truth of the barnyard.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nano4m_audio.report.inputs import read_clips
from nano4m_audio.report.metrics import metric_rows, paper_numbers
from nano4m_audio.report.runs import read_evaluation, read_json
from nano4m_audio.report.stage import metric as written
from nano4m_audio.report.truth import Share, compare, read_truth


def interval(row: Mapping[str, Any], unit: str) -> str:
    if row["low"] is None:
        return "too few"
    return f"{written(row['low'], unit)} to {written(row['high'], unit)}"


def filters(results: Path, truth_csv: Path) -> None:
    truth = compare(read_clips(results), read_truth(truth_csv))

    def line(name: str, share: Share) -> None:
        low, high = share.interval or (None, None)
        shown = interval({"low": low, "high": high}, "share")
        print(f"| {name} | {written(share.value, 'share')} | {shown} | {share.k} of {share.n} |")

    print("| filters | value | 95 % | clips |\n|---|---|---|---|")
    line("precision", truth.precision)
    line("recall", truth.recall)
    found = truth.copies["found"]
    print(f"\n{found.k} of {found.n} copies found, {len(truth.copies['false'])} false.\n")


def probes(results: Path, experiment: str) -> None:
    print("| metric | value | 95 % | n (groups) | chance | baseline | compared with it |")
    print("|---|---|---|---|---|---|---|")
    for row in metric_rows(read_evaluation(results, experiment), None, paper_numbers(), ()):
        ours = row.ours or {}
        cells = [
            row.title,
            written(ours["value"], row.unit),
            interval(ours, row.unit),
            f"{ours['n']} ({ours['groups']})",
            written(ours["chance"], row.unit),
            written(row.baseline["value"], row.unit) if row.baseline else "",
            f"{row.verdict.claim}: {row.verdict.evidence}" if row.verdict else "",
        ]
        print(f"| {' | '.join(cells)} |")


def tokenizers(results: Path) -> None:
    print("\n| pictures | tokenizer | PSNR | 95 % | SSIM | 95 % | keyframes (groups) |")
    print("|---|---|---|---|---|---|---|")
    for path in sorted((results / "quality").glob("*/*.json")):
        facts = read_json(path)
        psnr, ssim = facts["psnr_db"], facts["ssim"]
        cells = [
            facts["modality"],
            path.stem,
            written(psnr["value"], "dB"),
            interval(psnr, "dB"),
            written(ssim["value"]),
            interval(ssim, ""),
            f"{facts['n']} ({facts['groups']})",
        ]
        print(f"| {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("results", nargs="?", type=Path, default=Path("results"))
    parser.add_argument("--experiment", default="base")
    parser.add_argument("--truth", type=Path, help="default: RESULTS/barnyard/truth.csv")
    options = parser.parse_args()
    truth = options.truth or options.results / "barnyard/truth.csv"
    if truth.is_file():
        filters(options.results, truth)
    probes(options.results, options.experiment)
    tokenizers(options.results)


if __name__ == "__main__":
    main()
