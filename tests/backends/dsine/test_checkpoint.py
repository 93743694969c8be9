"""Files that are not a DSINE checkpoint are one clear line; nothing in them runs."""

from __future__ import annotations

import pytest
import torch

from nano4m_audio.backends.compute import Compute
from nano4m_audio.backends.dsine.estimator import DsineNormals
from nano4m_audio.backends.dsine.model import CHECKPOINT
from nano4m_audio.errors import UserError


class _Code:
    """Something that would run when it is unpickled."""

    def __reduce__(self):
        return print, ("this must not run",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"model": {"module.gru.convz.bias": torch.ones(64)}},
            "another network.*Missing key",
        ),
        ({"state": {}}, "must hold {'model': state dict}"),
        ({"model": {"epoch": 3}}, "must hold {'model': state dict}"),
        (torch.ones(3), "must hold {'model': state dict}"),
        ({"model": {}, "hook": _Code()}, "refused"),
    ],
)
def test_another_checkpoint(tmp_path, content, message, capsys):
    torch.save(content, tmp_path / CHECKPOINT)
    with pytest.raises(UserError, match=message) as caught:
        DsineNormals.load(Compute(), tmp_path)
    assert "\n" not in str(caught.value)
    assert "this must not run" not in capsys.readouterr().out


def test_a_missing_and_a_truncated_file(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        DsineNormals.load(Compute(), tmp_path)
    torch.save({"model": {"x": torch.ones(10_000)}}, tmp_path / CHECKPOINT)
    data = (tmp_path / CHECKPOINT).read_bytes()
    (tmp_path / CHECKPOINT).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError, match="not a whole torch checkpoint"):
        DsineNormals.load(Compute(), tmp_path)
