"""What made the numbers: config, code, versions, backends, weights, runs, machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from nano4m_audio.backends import registry
from nano4m_audio.config.schema import BACKEND_KEYS
from nano4m_audio.paths import Results
from nano4m_audio.report.runs import Run
from nano4m_audio.tokenizers.names import backend_name
from nano4m_audio.versions import STAGES, stage_version

_PACKAGES = (
    "nano4m-audio",
    "torch",
    "torchaudio",
    "numpy",
    "pyarrow",
    "av",
    "faiss-cpu",
    "silero-vad",
    "snakemake",
    "pillow",
)


def config_yaml(config: Mapping[str, Any]) -> str:
    """The resolved config as YAML, in its own order."""
    return yaml.safe_dump(json.loads(json.dumps(config)), sort_keys=False, allow_unicode=True)


def versions() -> list[tuple[str, str]]:
    """Name and version of Python and the packages in use; packages that are absent are left out."""
    found = [("python", platform.python_version())]
    for name in _PACKAGES:
        try:
            found.append((name, metadata.version(name)))
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> str:
    """Operating system, architecture, processor and number of cores."""
    return f"{platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text(errors="replace").splitlines() if info.is_file() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or "unknown processor")


#: Files that are no code: the config is on the page as it was used, and prose changes no number.
_NO_CODE = ("*.yaml", "configs/**", "docs/**", "*.md")


def git_state(repository: Path | None) -> tuple[str, bool] | None:
    """Commit and whether tracked code differs from it; None outside a checkout or without git."""
    if repository is None:
        return None

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(repository), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        excluded = [f":(top,exclude,glob){pattern}" for pattern in _NO_CODE]
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", *excluded)
        return git("rev-parse", "HEAD"), bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return None


def backend_rows(config: Mapping[str, Any], results: Path) -> list[dict[str, str]]:
    """One row per backend in use: config key, name, what it is, identity, weights hashes."""
    rows = []
    for key, kind in BACKEND_KEYS.items():
        section, _, field = key.partition(".")
        value = config.get(section, {}).get(field)
        name = value.get("backend") if isinstance(value, Mapping) else value
        if name is None:
            rows.append({"key": key, "name": "off", "note": "", "identity": "", "weights": ""})
            continue
        spec = registry.get_spec(kind, name, key)
        rows.append(
            {
                "key": key,
                "name": name,
                "note": spec.note,
                "identity": _identity(
                    kind, backend_name(name, Results(results)), config["compute"]["dtype"][section]
                ),
                "weights": _weights(spec),
            }
        )
    return rows


def _weights(spec: registry.BackendSpec) -> str:
    member = f"{spec.member}.safetensors" if spec.member else ""
    return spec.weights or member or spec.package


def _identity(kind: str, name: str, dtype: str) -> str:
    try:
        return registry.identity(kind, name, dtype)
    except (FileNotFoundError, metadata.PackageNotFoundError):
        return "not installed here"


def run_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Experiment, digests of data and training code, key, seed and torch version of each run."""
    return [
        {
            "name": run.name,
            "data_digest": run.facts.get("data_digest", ""),
            "code_digest": run.facts.get("code_digest", ""),
            "key": run.facts.get("key", ""),
            "seed": find(run.facts, "seed"),
            "torch": run.facts.get("torch", ""),
        }
        for run in runs
    ]


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


def collect(
    config: Mapping[str, Any], runs: Sequence[Run], results: Path, repository: Path | None
) -> dict[str, Any]:
    """Everything the section shows."""
    return {
        "config": config_yaml(config),
        "git": git_state(repository),
        "versions": versions(),
        "machine": machine(),
        "backends": backend_rows(config, results),
        "runs": run_rows(runs),
        "seeds": seeds(config),
        "stages": sorted(
            (name, stage_version(name))
            for name in STAGES
            if name != "barnyard" or config["source"] == "barnyard"
        ),
    }
