"""The settings for a second run of the tests reach the libraries, and change what they compute."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests import processor
from tests.conftest import ROOT

# What every library says of itself, and results in whose last bits its kernels differ. Libraries
# read their settings when they are first used, so this needs a process of its own.
REPORT = """
import hashlib, json
import numpy as np, torch
from numpy._core._multiarray_umath import __cpu_features__
from threadpoolctl import threadpool_info
rng = np.random.default_rng(0)
a, b = rng.standard_normal((2, 300, 300), np.float32)
digest = lambda array: hashlib.sha256(np.asarray(array).tobytes()).hexdigest()
x, y = torch.from_numpy(a), torch.from_numpy(b)
print("REPORT " + json.dumps({
    "numpy": [name for name, there in __cpu_features__.items() if there],
    "torch": torch.backends.cpu.get_cpu_capability(),
    "openblas": [i["architecture"] for i in threadpool_info() if i["internal_api"] == "openblas"],
    "results": {
        "numpy": digest(np.sin(a)),
        "openblas": digest(a @ b),
        "torch": digest(x.exp()),
        "onednn": digest(torch.conv2d(x[None, None], y[None, None, :3, :3])),
        "mkl": digest(x @ y),
    },
}))
"""


def report(settings: dict[str, str]) -> tuple[dict, str]:
    """What a new process says under ``settings`` alone, and its whole output."""
    names = {*processor.AVX2, "NPY_DISABLE_CPU_FEATURES", "DNNL_MAX_CPU_ISA"}
    base = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-c", REPORT],
        env={**base, "ONEDNN_VERBOSE": "1", "MKL_VERBOSE": "1", **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    line = next(line for line in done.stdout.splitlines() if line.startswith("REPORT "))
    return json.loads(line.removeprefix("REPORT ")), done.stdout


@pytest.mark.slow
def test_every_library_computes_as_on_an_older_processor():
    settings = processor.here()
    if not settings:
        pytest.skip("this processor has nothing to leave out")
    (before, _), (after, output) = report({}), report(settings)
    off = set(settings["NPY_DISABLE_CPU_FEATURES"].split(","))
    assert off and off <= set(before["numpy"]) and not off & set(after["numpy"])
    assert after["torch"].lower() == settings["ATEN_CPU_CAPABILITY"] != before["torch"].lower()
    assert set(after["openblas"]) == {settings["OPENBLAS_CORETYPE"]}
    isa = next(line for line in output.splitlines() if "info,cpu,isa:" in line)
    assert isa.replace(".", "").upper().endswith(settings["ONEDNN_MAX_CPU_ISA"]), isa
    if settings["MKL_CBWR"] == "COMPATIBLE":  # makers other than Intel have this one only
        assert "CNR:COMPATIBLE" in output
    same = [name for name, of in after["results"].items() if of == before["results"][name]]
    assert len(same) < len(after["results"]), same


@pytest.mark.parametrize(
    ("features", "level", "off"),
    [
        ("SSE42 AVX2 X86_V3", processor.BASELINE, "X86_V3"),
        ("SSE42 AVX2 X86_V3 AVX512F X86_V4 AVX512_ICL", processor.AVX2, "X86_V4,AVX512_ICL"),
        ("SSE42 AVX2 AVX512F AVX512CD AVX512_SKX", processor.AVX2, "AVX512F,AVX512CD,AVX512_SKX"),
    ],
)
def test_only_what_the_processor_knows_is_left_out(features, level, off):
    dispatched = ["X86_V3", "X86_V4", "AVX512F", "AVX512CD", "AVX512_SKX", "AVX512_ICL"]
    dispatched = [name for name in dispatched if "X86_V3" not in features or name != "AVX512F"]
    settings = processor.reduced(features.split(), dispatched)
    assert settings == {**level, "NPY_DISABLE_CPU_FEATURES": off}


@pytest.mark.parametrize("features", [["SSE42", "X86_V2"], ["NEON", "ASIMDHP"]])
def test_other_processors_are_left_as_they_are(features):
    assert processor.reduced(features, ["X86_V3", "ASIMDHP"]) == {}


def test_the_makefile_runs_the_fast_tests_under_them():
    plan = subprocess.run(
        ["make", "-n", "test-portable"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert "settings=$(python -m tests.processor) &&" in plan
    assert "env $settings pytest" in plan and '-m "not slow"' in plan
    # pytest runs nothing at all where one of its arguments is not there.
    named = [word for word in plan.split() if word.startswith("tests/")]
    assert len(named) > 10 and [name for name in named if not (ROOT / name).exists()] == []
    assert "make test-portable" in (ROOT / ".ci/run").read_text()
