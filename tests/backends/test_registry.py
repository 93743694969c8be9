"""What the registry says of every backend, and what identifies its output."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nano4m_audio.backends import registry
from nano4m_audio.backends.compute import Compute, resolve_device
from nano4m_audio.backends.mini.tagger import MiniTagger
from nano4m_audio.errors import UserError
from tests.backends import conformance

NAMED = [(kind, name) for kind, specs in registry.REGISTRY.items() for name in specs]


@pytest.mark.parametrize(("kind", "name"), NAMED)
def test_a_dtype_is_in_the_identity_only_where_it_is_used(kind, name):
    spec = registry.get_spec(kind, name)
    plain = registry.identity(kind, name)
    assert plain == registry.identity(kind, name, "float32")
    for dtype in ("bfloat16", "float16"):
        used = dtype in spec.dtypes
        assert registry.identity(kind, name, dtype) == plain + (f":{dtype}" if used else "")


def test_a_backend_without_gpu_support_gets_the_cpu_and_float32():
    tagger = registry.load("audio_tagger", "mini", Compute("cuda", "bfloat16", 1))
    assert isinstance(tagger, MiniTagger)
    assert tagger.net.training is False
    assert {str(p.dtype) for p in tagger.net.parameters()} == {"torch.float32"}
    assert {p.device.type for p in tagger.net.parameters()} == {"cpu"}


def test_auto_takes_what_this_machine_has():
    import torch

    found = resolve_device("auto")
    assert resolve_device("cuda") == "cuda"
    assert found == ("cuda" if torch.cuda.is_available() else found)
    torch.empty(1, device=found)


def test_unknown_names_get_a_suggestion():
    with pytest.raises(UserError, match="did you mean 'silero'"):
        registry.identity("speech_detector", "sileros")


def test_mypy_checks_every_backend_against_its_protocol():
    """conformance.py names them all."""
    text = Path(conformance.__file__).read_text("utf-8")
    for specs in registry.REGISTRY.values():
        for spec in specs.values():
            assert re.search(rf"\b{spec.target.partition(':')[2]}\b", text), spec.target
