"""Training: modes agree, a killed run continues to the bit, damage and infinities are survived."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from nano4m_audio.nano4m.checkpoint import load_state, save_state
from nano4m_audio.nano4m.data import TokenData
from nano4m_audio.nano4m.model import FourM
from nano4m_audio.nano4m.optim import make_optimizers, set_learning_rate
from nano4m_audio.nano4m.settings import (
    Component,
    Hardware,
    MaskingConfig,
    Modality,
    ModelConfig,
    Numerics,
    OptimConfig,
    TrainSettings,
)
from nano4m_audio.nano4m.train import STATES, NonFiniteGradientError, TrainResult, train

MODALITIES = (
    Modality("rgb", 64, 16),
    Modality("audio", 32, 32, span_stride=2),
    Modality("caption", 100, 8, pad_id=99),
)
SETTINGS = TrainSettings(
    model=ModelConfig(
        modalities=MODALITIES, dim=32, encoder_depth=1, decoder_depth=1, head_dim=16, init="scaled"
    ),
    masking=MaskingConfig(input_tokens=(4, 24), target_tokens=(4, 24), single_source_prob=0.25),
    optim=OptimConfig(
        steps=32, batch_size=6, lr=1e-2, warmup_steps=4, log_every=4, validate_every=8
    ),
    numerics=Numerics(threads=1),
)


def some_data(n: int, seed: int = 0) -> TokenData:
    """Clips whose modalities all say the same number, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 8, n)[:, None, None]
    rgb = (kind * 8 + rng.integers(0, 2, (n, 3, 16))).astype(np.uint16)
    audio = (kind * 4 + rng.integers(0, 2, (n, 1, 32))).astype(np.uint16)
    captions = [[k, k + 10, k + 20][: 1 + k % 3] for k in kind.ravel().tolist()]
    return TokenData(MODALITIES, {"rgb": rgb, "audio": audio}, captions)


def run(
    folder: Path, settings: TrainSettings = SETTINGS, hardware: Hardware | None = None, **options
) -> TrainResult:
    settings = settings.model_copy(update={"hardware": hardware or settings.hardware})
    return train(settings, some_data(20), some_data(9, 1), folder, **options)


def change(settings: TrainSettings, section: str = "optim", **values) -> TrainSettings:
    changed = getattr(settings, section).model_copy(update=values)
    return settings.model_copy(update={section: changed})


def assert_same_run(a: TrainResult, b: TrainResult) -> None:
    assert a.metrics == b.metrics
    for name, value in a.weights.items():
        assert torch.equal(value, b.weights[name]), name
        assert torch.equal(a.best_weights[name], b.best_weights[name]), name


def losses(result: TrainResult, split: str = "train") -> np.ndarray:
    return np.array([row[3] for row in result.metrics if row[1] == split])


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> TrainResult:
    return run(tmp_path_factory.mktemp("whole"))


def test_the_loss_falls_and_the_best_step_is_known(uninterrupted):
    first, last = losses(uninterrupted)[:3].sum(), losses(uninterrupted)[-3:].sum()
    assert last < 0.8 * first
    by_step: dict[int, list[float]] = {}
    for step, split, _, loss, *_ in uninterrupted.metrics:
        if split == "val":
            by_step.setdefault(step, []).append(loss)
    assert uninterrupted.best_step == min(by_step, key=lambda step: np.mean(by_step[step]))


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("average", ["modality", "token"])
def test_reference_and_fast_mode_train_alike(tmp_path, own, average):
    settings = change(SETTINGS, "objective", per_modality_vocab=own, average=average)
    both = [
        run(tmp_path / mode, change(settings, "numerics", mode=mode))
        for mode in ("reference", "fast")
    ]
    for split in ("train", "val"):
        reference, fast = (losses(r, split) for r in both)
        np.testing.assert_allclose(fast, reference, rtol=2e-4)


@pytest.mark.parametrize(
    "masking",
    [
        {"padded_captions": True, "single_source_prob": 0.0},
        {"condition_dropout": 0.5},  # samples without any input
        {"condition_dropout": 1.0},  # and batches
    ],
)
def test_other_masks_train_in_both_modes(tmp_path, masking):
    settings = change(SETTINGS, "masking", **masking)
    both = [
        run(tmp_path / mode, change(settings, "numerics", mode=mode))
        for mode in ("reference", "fast")
    ]
    reference, fast = map(losses, both)
    np.testing.assert_allclose(fast, reference, rtol=2e-4)


def test_a_mixture_changes_with_the_steps(tmp_path):
    """The first step is that of the first weights, the last one is not."""

    def trained(*weights: tuple[float, float]) -> np.ndarray:
        mixture = tuple(
            Component(start_weight=start, weight=end, input_alpha=alpha, target_alpha=alpha)
            for (start, end), alpha in zip(weights, (1.0, 0.01), strict=True)
        )
        settings = change(change(SETTINGS, "masking", mixture=mixture), log_every=1)
        return losses(run(tmp_path / str(weights), settings))

    rising, constant = trained((1, 0), (0, 1)), trained((1, 1), (0, 0))
    assert rising[0] == constant[0]
    assert (rising[-12:] != constant[-12:]).all()


def test_bfloat16_stays_close_to_float32(tmp_path):
    """At a moderate learning rate: at a high one, rounding errors grow with every step."""
    settings = change(SETTINGS, lr=4e-3)
    ours, theirs = (
        losses(run(tmp_path / precision, change(settings, "numerics", precision=precision)))
        for precision in ("bfloat16", "float32")
    )
    assert ours.tolist() != theirs.tolist()
    np.testing.assert_allclose(ours, theirs, rtol=0.02)


def test_a_learning_rate_of_its_own_leaves_the_decay_alone():
    """What was never seen shrinks alike at any scale; what was seen moves further at a larger."""
    rows = []
    for scale in (1.0, 50.0):
        settings = change(SETTINGS, embedding_lr_scale=scale, warmup_steps=0)
        model = FourM(settings.model, 0)
        table = model.enc_tok_emb.weight
        before = table.detach().clone()
        (optimizer,) = make_optimizers(model, settings)
        set_learning_rate([optimizer], 0.01)
        table.grad = torch.zeros_like(table)
        table.grad[3] = 1.0
        optimizer.step()
        rows.append((table.detach() - before).norm(dim=1))
    np.testing.assert_allclose(rows[0][4:], rows[1][4:], rtol=1e-4)
    assert rows[1][3] > 40 * rows[0][3]


def test_muon_trains_the_blocks(tmp_path, uninterrupted):
    result = run(tmp_path, change(SETTINGS, optimizer="muon"))
    assert losses(result)[-3:].sum() < 0.8 * losses(result)[:3].sum()
    assert losses(result).tolist() != losses(uninterrupted).tolist()


#: Save after every step.
EVERY_STEP = Hardware(checkpoint_every_s=0.0)


class Stop(Exception):
    pass


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_run_stopped_at_any_step_continues_to_the_bit(tmp_path, optimizer):
    settings = change(SETTINGS, optimizer=optimizer)
    whole = run(tmp_path / "whole", settings)
    for stops in ([1, 2, 3], [7, 16], [31]):
        folder = tmp_path / str(stops)
        for stop in stops:

            def watch(step, model, rows, stop=stop):
                if step == stop + 1:  # the state of step ``stop`` is written, this one is not
                    raise Stop

            with pytest.raises(Stop):
                run(folder, settings, watch=watch, hardware=EVERY_STEP)
        resumed = run(folder, settings, hardware=EVERY_STEP)
        assert resumed.resumed_from_step == stops[-1]
        assert_same_run(whole, resumed)


CHILD = """
import sys
from pathlib import Path
from tests.nano4m.test_train import EVERY_STEP, run
run(Path(sys.argv[1]), hardware=EVERY_STEP)
"""


@pytest.mark.slow
def test_a_killed_process_continues_to_the_bit(tmp_path, uninterrupted):
    """SIGKILL at random moments, also in the middle of a write, until one child gets through."""
    rng, kills = random.Random(7), 0
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(40):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], env=environment)
        while child.poll() is None and not any((tmp_path / STATES).glob("step_*.pt")):
            time.sleep(0.02)  # the first child gets as far as its first state
        wait_s = rng.uniform(2.0, 6.0) if kills else 0.0  # the first is far from its end
        try:
            child.wait(wait_s)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGKILL)
            child.wait()
            kills += 1
            if kills >= 4:
                break
            continue
        break
    assert kills >= 1
    assert_same_run(uninterrupted, run(tmp_path, hardware=EVERY_STEP))


def test_a_damaged_state_is_passed_over(tmp_path, uninterrupted, capsys):
    def watch(step, model, rows):
        if step == 13:
            raise Stop

    with pytest.raises(Stop):
        run(tmp_path, watch=watch, hardware=EVERY_STEP)
    states = sorted((tmp_path / STATES).glob("*.pt"))
    assert [s.name for s in states] == ["step_000000011.pt", "step_000000012.pt"]
    content = bytearray(states[-1].read_bytes())
    content[len(content) // 2] ^= 1
    states[-1].write_bytes(content)
    resumed = run(tmp_path)
    assert resumed.resumed_from_step == 11
    assert "step_000000012.pt is damaged" in capsys.readouterr().err
    assert_same_run(uninterrupted, resumed)


def test_the_last_states_are_kept(tmp_path):
    for step in range(5):
        save_state(tmp_path, step, {"step": step}, keep=3)
    assert [p.name for p in sorted(tmp_path.glob("*.pt"))] == [
        f"step_{step:09d}.pt" for step in (2, 3, 4)
    ]
    assert load_state(tmp_path) == {"step": 4}
    assert load_state(tmp_path / "nothing") is None


def test_an_infinite_gradient_stops_with_its_batch(tmp_path):
    def poison(step, model, rows):
        if step == 5:
            model.__self__.model.dec_context_proj.weight.data[0, 0] = torch.inf  # of the run

    with pytest.raises(NonFiniteGradientError, match="gradient at step 5 is not finite"):
        run(tmp_path, watch=poison, hardware=EVERY_STEP)
    with np.load(tmp_path / "nonfinite_step5.npz") as dumped:
        batch = some_data(20).batch(5, 6, SETTINGS.masking, 0)
        np.testing.assert_array_equal(dumped["targets_tokens"], batch.targets.tokens)
        np.testing.assert_array_equal(dumped["clips"], batch.clips)
    assert load_state(tmp_path / STATES)["step"] == 5


def test_no_validation_clip_makes_the_last_weights_the_best(tmp_path):
    result = train(SETTINGS, some_data(20), some_data(0), tmp_path)
    assert result.best_step == 32
    assert all(torch.equal(v, result.best_weights[k]) for k, v in result.weights.items())


def test_data_without_a_clip_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no clip to draw from"):
        train(SETTINGS, some_data(0), some_data(3), tmp_path)
