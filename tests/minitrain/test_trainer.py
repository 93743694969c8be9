"""The training loop: an interrupted run ends in the bits of an undisturbed one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nano4m_audio.backends.mini.image_tokenizer import ImageTokenizerNet
from nano4m_audio.minitrain import trainer
from nano4m_audio.minitrain.losses import ImageTokenizerLoss, StoredImages

RECIPE = trainer.Recipe(steps=8, batch=2, learning_rate=1e-3)


class Killed(Exception):
    pass


class KilledLoss(ImageTokenizerLoss):
    """A loss whose process dies in its fourth step."""

    calls = 0

    def __call__(self, net, generator):
        type(self).calls += 1
        if self.calls == 4:
            raise Killed
        return super().__call__(net, generator)


def images() -> StoredImages:
    generator = torch.Generator().manual_seed(1)
    return StoredImages(torch.rand(6, 1, 224, 224, generator=generator).half() * 2 - 1)


def fit(loss, state: Path | None) -> tuple[ImageTokenizerNet, list[tuple[int, float]]]:
    torch.manual_seed(0)
    net = ImageTokenizerNet(1, (4, 4), 5)
    return net, trainer.fit(net, loss, RECIPE, seed=3, name="tiny", state=state)


def test_an_interrupted_run_ends_in_the_same_bits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(trainer, "CHECKPOINT_EVERY_S", 0.0)
    loss = ImageTokenizerLoss(images(), 2)
    undisturbed, history = fit(loss, None)
    state = tmp_path / "states"
    with pytest.raises(Killed):
        fit(KilledLoss(images(), 2), state)
    continued, again = fit(loss, state)
    assert history == again and [step for step, _ in history] == list(range(1, 9))
    for name, value in undisturbed.state_dict().items():
        assert torch.equal(value, continued.state_dict()[name]), name


def test_the_loss_falls() -> None:
    torch.manual_seed(0)
    net = ImageTokenizerNet(1, (4, 4), 5)
    rows = torch.linspace(-1, 1, 224).view(1, 1, 224, 1).expand(4, 1, 224, 224).half()
    recipe = trainer.Recipe(steps=40, batch=4, learning_rate=1e-2)
    history = trainer.fit(
        net, ImageTokenizerLoss(StoredImages(rows), 4), recipe, seed=0, name="tiny"
    )
    assert history[-1][1] < 0.7 * history[0][1]


def test_a_loss_that_is_not_finite_stops_the_run() -> None:
    torch.manual_seed(0)
    net = ImageTokenizerNet(1, (4, 4), 5)
    broken = StoredImages(torch.full((2, 1, 224, 224), float("nan")).half())
    with pytest.raises(FloatingPointError, match="tiny: loss nan at step 0"):
        trainer.fit(net, ImageTokenizerLoss(broken, 2), RECIPE, seed=0, name="tiny")
