"""What a training run records before its first step: enough to say later what made it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nano4m_audio.files import write_json


def environment(threads: int) -> dict[str, Any]:
    """Versions, devices and the machine. Recorded once per session; not part of the run's key."""
    import torch

    found = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": threads,
        "devices": found or ["cpu"],
        "cuda": torch.version.cuda,
    }


def write_start(path: Path, facts: Mapping[str, Any], threads: int) -> None:
    """Write ``facts`` and the environment; a continued run adds its environment to the list."""
    before = json.loads(path.read_text("utf-8")) if path.exists() else {}
    sessions = [*before.get("sessions", []), environment(threads)]
    write_json(path, {**facts, "sessions": sessions})
