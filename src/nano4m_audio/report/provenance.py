"""What made the numbers: config, code, versions, backends, weights, runs, machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.backends import registry
from nano4m_audio.config.schema import BACKEND_KEYS
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.runs import Run, read_json
from nano4m_audio.report.shipped import Shipped, compare_with_shipped, git
from nano4m_audio.tokenize.names import backend_name
from nano4m_audio.versions import STAGES, stage_version

_PACKAGES = "nano4m-audio torch torchaudio numpy pyarrow av silero-vad snakemake pillow"


def versions() -> list[tuple[str, str]]:
    """Name and version of Python and the packages in use; packages that are absent are left out."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES.split():
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Operating system, architecture, processor and number of cores."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    processor = next(models, platform.processor() or "unknown processor")
    return f"{platform.system()} {platform.machine()}, {processor}, {os.cpu_count()} cores"


#: Files that are no code: the config is on the page as it was used, and prose changes no number.
_NO_CODE = ("*.yaml", "configs/**", "docs/**", "*.md")


def git_state(repository: Path | None) -> tuple[str, bool] | None:
    """Commit and whether tracked code differs from it; None outside a checkout or without git."""
    if repository is None:
        return None
    try:
        excluded = [f":(top,exclude,glob){pattern}" for pattern in _NO_CODE]
        changed = git(
            repository, "status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded
        )
        return git(repository, "rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None


def backend_rows(config: Mapping[str, Any], results: Path) -> list[tuple[str, ...]]:
    """Config key, name, identity with weights' digests and note of every backend in use, or off."""
    rows: list[tuple[str, ...]] = []
    for key, kind in BACKEND_KEYS.items():
        section, _, field = key.partition(".")
        value = config.get(section, {}).get(field)
        name = value.get("backend") if isinstance(value, Mapping) else value
        if name is None:
            rows.append((key, "off", "", ""))
            continue
        try:
            dtype = config["compute"]["dtype"].get(section, "float32")
            identity = registry.identity(kind, backend_name(name, Results(results)), dtype)
        except (FileNotFoundError, metadata.PackageNotFoundError):
            identity = "not installed here"
        rows.append((key, name, identity, registry.get_spec(kind, name, key).note))
    return rows


def find(values: Any, key: str) -> Any:
    """The first value of ``key`` in nested mappings, depth first; None when there is none."""
    if not isinstance(values, Mapping):
        return None
    if key in values:
        return values[key]
    return next((v for inner in values.values() if (v := find(inner, key)) is not None), None)


def seeds(config: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Every seed of the config that these results can depend on, by dotted name."""
    out: list[tuple[str, int]] = []

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            if isinstance(value, Mapping):
                walk(value, f"{prefix}{key}.")
            elif key == "seed":
                out.append((f"{prefix}{key}", value))

    # The mini family is shipped; its seed is that of a training of one's own.
    others = {"mini"} if config["source"] == "barnyard" else {"mini", "barnyard"}
    walk({key: values for key, values in config.items() if key not in others}, "")
    return out


@dataclass(frozen=True)
class Provenance:
    """Everything the section shows: runs with their seeds, the mini family's model card, ..."""

    config: str
    git: tuple[str, bool] | None
    versions: list[tuple[str, str]]
    machine: str
    backends: list[tuple[str, ...]]
    runs: list[tuple[Run, Any]]
    seeds: list[tuple[str, int]]
    stages: list[tuple[str, str]]
    card: Mapping[str, Any] | None
    shipped: Shipped | None = None


def collect(inputs: ReportInputs) -> Provenance:
    """What this machine, the checkout, the config and the runs say."""
    config = inputs.config
    synthetic = config["source"] == "barnyard"
    text = yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)
    return Provenance(
        config=text,
        git=git_state(inputs.repository),
        versions=versions(),
        machine=machine(),
        backends=backend_rows(config, inputs.results),
        runs=[(run, find(run.facts, "seed")) for run in inputs.runs],
        seeds=seeds(config),
        stages=[(n, stage_version(n)) for n in sorted(STAGES) if n != "barnyard" or synthetic],
        # Measured on the synthetic world, the card says nothing about media of one's own.
        card=read_json(inputs.card) if inputs.card and synthetic else None,
        shipped=compare_with_shipped(config, inputs.repository),
    )
