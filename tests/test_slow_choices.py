"""What a CPU does slowly is said in one line, where it is asked for and only there."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch

from nano4m_audio import processor
from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute
from nano4m_audio.config.schema import Config
from nano4m_audio.experiments import slow_choices
from nano4m_audio.nano4m import hardware
from nano4m_audio.nano4m.distributed import Ranks
from nano4m_audio.nano4m.hardware import COMPILED_STEPS, RECORDED_STEPS, compiles, records
from nano4m_audio.nano4m.settings import Hardware
from tests.nano4m.test_train import SETTINGS, change, run

HALF: dict[str, Any] = {
    "experiments": {"a": {"numerics": {"precision": "bfloat16"}}, "b": {}},
    "report": {"experiment": "a"},
}
CLIP: dict[str, Any] = {
    "score": {"visual": {"backend": "clip_vit_b32"}},
    "verdict": {"visual_min": 0.2},
}


@pytest.fixture
def cpu(monkeypatch):
    """Sets whether the CPU has bfloat16; there is no GPU."""

    def has(flag: bool) -> None:
        found = {"avx512_bf16": flag, "amx_bf16": False}
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    has(False)
    return has


def test_bfloat16_is_noted_where_it_is_emulated(cpu):
    (line,) = slow_choices(Config(**HALF))
    assert line.startswith("experiments.a.numerics.precision: bfloat16 is several times slower")
    half: dict[str, Any] = {"compute": {"dtype": "bfloat16"}}
    assert slow_choices(Config(**half)) == [], "the models in use stay in float32"
    (line,) = slow_choices(Config(**half, **CLIP))
    assert line.startswith("compute.dtype.score: bfloat16")
    cpu(True)
    assert slow_choices(Config(**HALF)) == slow_choices(Config(**half, **CLIP)) == []


def test_compile_is_noted_when_it_is_asked_for(cpu):
    asked: dict[str, Any] = {"experiments": {"base": {"hardware": {"compile": True}}}}
    assert slow_choices(Config(**asked)) == [
        "experiments.base.hardware.compile: does nothing on a CPU"
    ]
    for value in (False, "auto"):
        left: dict[str, Any] = {"experiments": {"base": {"hardware": {"compile": value}}}}
        assert slow_choices(Config(**left)) == []


def test_nothing_to_note_imports_no_torch():
    code = (
        "import sys; from nano4m_audio.config.schema import Config;"
        "from nano4m_audio.experiments import slow_choices;"
        "assert slow_choices(Config()) == [] and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_run_says_it_once_and_trains(cpu, tmp_path, capsys):
    settings = change(SETTINGS, steps=4)
    place = Hardware(device="cpu", compile=True)
    plain = run(tmp_path / "a", settings)
    assert capsys.readouterr().err == ""
    noted = run(tmp_path / "b", settings, hardware=place)
    assert plain.metrics == noted.metrics
    assert capsys.readouterr().err.splitlines() == [
        "train: compile: true is for a GPU, a CPU trains without"
    ]
    run(tmp_path / "c", change(settings, "numerics", precision="bfloat16"))
    (line,) = capsys.readouterr().err.splitlines()
    assert "emulates bfloat16" in line and "precision: float32" in line


@pytest.mark.parametrize(
    ("compiled", "steps", "mode", "expected"),
    [
        ("auto", COMPILED_STEPS, "fast", True),
        ("auto", COMPILED_STEPS - 1, "fast", False),
        ("auto", COMPILED_STEPS, "reference", False),
        (True, 10, "reference", True),
        (False, COMPILED_STEPS, "fast", False),
    ],
)
def test_auto_compiles_long_fast_runs_of_a_gpu(monkeypatch, compiled, steps, mode, expected):
    monkeypatch.setattr(hardware.importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(hardware.shutil, "which", lambda name: "/usr/bin/cc")
    settings = change(change(SETTINGS, steps=steps), "numerics", mode=mode)
    settings = change(settings, "hardware", compile=compiled)
    assert compiles(settings, Ranks(torch.device("cuda"))) is expected
    assert not compiles(settings, Ranks(torch.device("cpu")))


@pytest.mark.parametrize(
    ("compiled", "steps", "mode", "device", "world", "expected"),
    [
        ("auto", RECORDED_STEPS, "fast", "cuda", 1, True),
        ("auto", RECORDED_STEPS - 1, "fast", "cuda", 1, False),
        (True, 10, "fast", "cuda", 1, True),
        (False, RECORDED_STEPS, "fast", "cuda", 1, False),
        (True, RECORDED_STEPS, "reference", "cuda", 1, False),
        (True, RECORDED_STEPS, "fast", "cuda", 2, False),
        (True, RECORDED_STEPS, "fast", "cpu", 1, False),
    ],
)
def test_one_gpu_records_its_passes(compiled, steps, mode, device, world, expected):
    settings = change(change(SETTINGS, steps=steps), "numerics", mode=mode)
    settings = change(settings, "hardware", compile=compiled)
    assert records(settings, Ranks(torch.device(device), world=world)) is expected


def test_a_backend_says_that_bfloat16_is_emulated(cpu, monkeypatch, capsys):
    loaded: list[Any] = []
    monkeypatch.setattr("nano4m_audio.backends.weights.folder", lambda _: None)
    monkeypatch.setattr("nano4m_audio.backends.clip.ClipVitB32.load", loaded.append)
    for flag in (False, True):
        cpu(flag)
        registry.load("image_text_scorer", "clip_vit_b32", Compute("cpu", "bfloat16"))
    assert len(loaded) == 2
    assert capsys.readouterr().err == (
        "clip_vit_b32: this CPU emulates bfloat16, several times slower than float32\n"
    )
    assert processor.native_bfloat16()
