"""Checkpoints that are damaged, lie about themselves, or would run code: refused in one line."""

from __future__ import annotations

import io
import json
import os
import pickle
import resource
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from nano4m_audio.backends.checkpoints import read_safetensors, read_torch
from nano4m_audio.errors import UserError
from nano4m_audio.interchange.weights import read_model
from nano4m_audio.nano4m.checkpoint import load_model, save_model
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.settings import Modality, ModelConfig
from tests.fuzz.damage import PLAIN, damaged, many

CONFIG = ModelConfig(
    modalities=(Modality("rgb", 16, 4), Modality("audio", 8, 4, 2), Modality("caption", 20, 4)),
    dim=16,
    encoder_depth=1,
    decoder_depth=1,
    head_dim=16,
)


def header(data: dict[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header; ``length`` is what it says of the header's length."""
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(start: int, end: int, shape: tuple = (1,), dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


#: What the metadata of a file of ours may say.
def _told(config: str) -> bytes:
    state = {key: value.contiguous() for key, value in FourM(CONFIG).state_dict().items()}
    return save(state, metadata={"config": config})


_PLAIN = CONFIG.model_dump(mode="json")
LIARS: dict[str, bytes] = {
    "nothing": b"",
    "seven bytes": bytes(7),
    "a length beyond the file": header({}, length=10_000),
    "the largest length": header({}, length=2**64 - 1),
    "a header of 101 MB": struct.pack("<Q", 101_000_000) + b" " * 1000,
    "no JSON": header(b"{"),
    "deep JSON": header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "a list": header(b"[]"),
    "not UTF-8": header(b'{"\xff": 1}'),
    "a body that is too short": header({"a": tensor(0, 400, (100,))}, bytes(4)),
    "a body that is too long": header({"a": tensor(0, 4)}, bytes(400)),
    "overlapping tensors": header({"a": tensor(0, 8, (2,)), "b": tensor(4, 12, (2,))}, bytes(12)),
    "a hole": header({"a": tensor(0, 4), "b": tensor(8, 12)}, bytes(12)),
    "offsets backwards": header({"a": tensor(8, 4)}, bytes(8)),
    "negative offsets": header({"a": tensor(-4, 0)}, bytes(8)),
    "a shape that does not fit": header({"a": tensor(0, 4, (2, 3))}, bytes(4)),
    "a shape that overflows": header({"a": tensor(0, 0, (2**63, 2**63))}),
    "a dtype that lies": header({"a": tensor(0, 4, (1,), "F64")}, bytes(4)),
    "a dtype that is none": header({"a": tensor(0, 4, (1,), "X9")}, bytes(4)),
    "one name twice": header(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        bytes(4),
    ),
    "metadata that is no text": header({"__metadata__": {"config": {"a": 1}}}),
    "no tensors": header({}),
    "a config that is no JSON": _told("{"),
    "a config that is deep": _told("[" * 100_000),
    "a config that is a list": _told("[1]"),
    "a config that is a number": _told("9" * 5000),
    "a config without keys": _told("{}"),
    "a config of another kind": _told(json.dumps({"dim": "x", "modalities": {"a": []}})),
    "a config that is huge": _told(json.dumps({**_PLAIN, "dim": 2**40, "head_dim": 2**20})),
    "a config that is deep and wide": _told(json.dumps({**_PLAIN, "encoder_depth": 10**9})),
    "a vocabulary without end": _told(
        json.dumps(
            {**_PLAIN, "modalities": [{"name": "rgb", "vocab_size": 10**12, "max_tokens": 9}]}
        )
    ),
}


class Harmful:
    """Makes a folder when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def _zip(names: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in names.items():
            archive.writestr(name, data)
    return out.getvalue()


def _saved(content: Any, **options: Any) -> bytes:
    out = io.BytesIO()
    torch.save(content, out, **options)
    return out.getvalue()


PICKLES: dict[str, bytes] = {
    "a pickle": pickle.dumps(Harmful()),
    "a pickle in a list": pickle.dumps([{"model": Harmful()}]),
    "a torch file": _saved({"model": Harmful()}),
    "an old torch file": _saved({"model": Harmful()}, _use_new_zipfile_serialization=False),
    "an archive": _zip({"archive/data.pkl": pickle.dumps(Harmful()), "archive/version": b"3\n"}),
    "a path out of the archive": _zip({"../harm/x": b"x", "archive/data.pkl": b"."}),
    "a bomb": _zip({"archive/data.pkl": bytes(200_000_000), "archive/version": b"3\n"}),
    "eval": b"cbuiltins\neval\n(S'__import__(\"os\").mkdir(\"harm\")'\ntR.",
    "getattr": b"cbuiltins\ngetattr\n(cos\nS'mkdir'\ntR(S'harm'\ntR.",
    "torch's own loader": b"ctorch\nload\n(S'/etc/passwd'\ntR.",
    "without an end": pickle.dumps({"a": [1] * 100})[:-1],
    "a depth without end": b"\x80\x02" + b"]" * 200_000 + b"a" * 199_999 + b".",
    "a length that lies": b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"x.",
    "memory without end": b"\x80\x02r\xff\xff\xff\x7f.",
}  # fmt: skip


def _refused(path: Path, *readers: Any) -> int:
    """Have a file read in every way; returns in how many of them it was taken."""
    taken = 0
    for read in readers:
        try:
            read(path)
            taken += 1
        except (UserError, ValueError) as error:
            # load_model answers its callers with ValueError.
            assert isinstance(error, UserError) or read is load_model, (read, error)
            if read is not load_model:
                assert "\n" not in str(error) and len(str(error)) < 2000, str(error)[:3000]
    return taken


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    """A folder to work in, where code in a file would leave its mark."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", LIARS)
def test_headers_that_lie_are_refused(name, place):
    path = place / "model.safetensors"
    path.write_bytes(LIARS[name])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    allowed = 1 if name.startswith(("a config", "no tensors", "a vocabulary", "one name")) else 0
    assert _refused(path, read_safetensors, load_model, read_model) <= allowed
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_pickles_run_nothing(name, suffix, place):
    path = place / f"model{suffix}"
    path.write_bytes(PICKLES[name])
    assert not _refused(path, read_model, read_torch if suffix == ".pth" else read_safetensors)
    assert [p.name for p in place.iterdir()] == [path.name]


def _model(folder: Path) -> FourM:
    model = FourM(CONFIG, seed=1)
    save_model(folder / "ours.safetensors", model)
    return model


def test_damaged_checkpoints_are_whole_or_refused(place):
    model = _model(place)
    state = model.state_dict()
    torch.save({"model": state, "iteration": 3}, place / "theirs.pth")
    torch.save({"model": state}, place / "old.pt", _use_new_zipfile_serialization=False)
    for name, readers in {
        "ours.safetensors": (read_safetensors, load_model, read_model),
        "theirs.pth": (read_torch, read_model),
        "old.pt": (read_torch, read_model),
    }.items():
        good = (place / name).read_bytes()
        path = place / f"damaged{Path(name).suffix}"
        for number in range(many(25, 800)):
            path.write_bytes(damaged(good, f"{name} {number}", PLAIN))
            _refused(path, *readers)
