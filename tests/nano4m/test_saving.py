"""States written beside the run: whole after a kill, never of two steps, never too many."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nano4m_audio.nano4m import saving
from nano4m_audio.nano4m.checkpoint import SaveError, load_state, save_state
from nano4m_audio.nano4m.saving import COST_SHARE, Saver
from nano4m_audio.nano4m.settings import Hardware
from nano4m_audio.nano4m.train import STATES
from tests.conftest import ROOT
from tests.nano4m.test_train import Stop, assert_same_run, run

#: As often as the thread has time for it.
ALWAYS = Hardware(checkpoint_every_s=1e-6)


def state(step: int, size: int = 4) -> dict:
    """Every value in it is the number of its step."""
    full = torch.full((size,), float(step))
    return {"model": {"w": full}, "optimizers": [{"state": {0: full.clone()}}], "best": [step, {}]}


def test_a_run_goes_on_from_a_state_that_was_written_while_it_went_on(tmp_path, monkeypatch):
    def save_late(folder, step, values):
        time.sleep(0.03)  # meanwhile the run takes more steps
        save_state(folder, step, values)

    def watch(step, model, rows):
        if step == 29:
            raise Stop

    monkeypatch.setattr(saving, "COST_SHARE", 1e9)
    whole = run(tmp_path / "whole")
    monkeypatch.setattr(saving, "save_state", save_late)
    with pytest.raises(Stop):
        run(tmp_path / "stopped", hardware=ALWAYS, watch=watch)
    written = sorted(p.name for p in (tmp_path / "stopped" / STATES).glob("*.pt"))
    assert "step_000000029.pt" not in written, "the run waited for every state"
    resumed = run(tmp_path / "stopped", hardware=ALWAYS)
    assert 0 < resumed.resumed_from_step < 29
    assert_same_run(whole, resumed)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("step_"))


CHILD = """
import sys, time
from pathlib import Path
from nano4m_audio.nano4m import saving
from tests.nano4m.test_saving import state
saving.COST_SHARE = 1e9
with saving.Saver(Path(sys.argv[1]), 1e-6) as saver:
    for step in range(int(sys.argv[2]), 10_000):
        if saver.due():
            saver.save(step, state(step, 2_000_000), time.monotonic())
        time.sleep(0.001)
"""


@pytest.mark.slow
def test_a_kill_while_a_state_is_written_leaves_the_one_before(tmp_path):
    rng, first = random.Random(3), 0
    for _ in range(6):
        command = [sys.executable, "-c", CHILD, str(tmp_path), str(first)]
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"})
        while not any(step_of(path) >= first for path in tmp_path.glob("*.pt")):
            assert child.poll() is None
            time.sleep(0.005)
        time.sleep(rng.uniform(0.0, 0.2))
        child.send_signal(signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
        found = load_state(tmp_path)
        values = torch.cat([found["model"]["w"], found["optimizers"][0]["state"][0]])
        assert len(values) == 4_000_000 and (values == found["best"][0]).all()
        assert found["best"][0] >= first
        first = found["best"][0] + 1


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 5), st.floats(0, 20)), min_size=1, max_size=50),
    st.floats(0.001, 100),
)
def test_states_cost_less_than_their_share(tmp_path_factory, costs, every_s):
    """``costs``: seconds of standing still and of writing; what a state costs is known from the
    one before, so they may grow by one state's cost only."""
    folder, clock = tmp_path_factory.mktemp("states"), SimpleNamespace(now=0.0, cpu=0.0)
    costs = sorted(costs, key=sum, reverse=True)

    def save_slowly(path, step, values):
        clock.cpu += costs[step][1]

    with pytest.MonkeyPatch.context() as patch:
        times = SimpleNamespace(monotonic=lambda: clock.now, thread_time=lambda: clock.cpu)
        patch.setattr(saving, "time", times)
        patch.setattr(saving, "save_state", save_slowly)
        saver, spent = Saver(folder, every_s, int(30 * saving.BYTES_PER_S)), 0.0
        saved: list[Any] = []
        while len(saved) < len(costs) and clock.now < 1e5:
            clock.now += 1.0 + every_s / 7
            if saver.due():
                step, began = len(saved), clock.now
                clock.now += costs[step][0]
                saver.save(step, state(step), began, wait=True)
                spent += sum(costs[step])
                assert spent <= COST_SHARE * clock.now + 1e-6
                saved.append(began)
    assert saved, "a long run has states"
    assert all(b - a >= every_s for a, b in zip(saved, saved[1:], strict=False))


def test_a_state_that_cannot_be_written_ends_the_run(tmp_path):
    (tmp_path / STATES).write_text("a file where the folder should be")
    with pytest.raises(SaveError, match=r"train_state/step_\d+.pt: not written: "):
        run(tmp_path, hardware=ALWAYS)


def test_a_failure_in_the_thread_is_raised_by_the_next_question(tmp_path):
    (tmp_path / "file").write_text("")
    with Saver(tmp_path / "file", 1e-9) as saver:
        saver.save(3, state(3), time.monotonic())
        with pytest.raises(SaveError, match="step_000000003.pt: not written"):
            while not saver.due():
                time.sleep(0.001)


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
from pathlib import Path
import torch
from nano4m_audio.nano4m.checkpoint import SaveError, save_state
folder = Path(sys.argv[1])
save_state(folder, 1, {"w": torch.zeros(50_000)})
try:
    save_state(folder, 2, {"w": torch.zeros(5_000_000)})
except SaveError as error:
    print(error)
"""


def test_a_write_that_ends_in_the_middle_keeps_the_state_before_and_frees_the_disk(tmp_path):
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path: Path = tmp_path / "step_000000002.pt"
    assert done.stdout == f"{path}: not written: File too large\n"
    assert [p.name for p in tmp_path.iterdir() if "sha256" not in p.name] == ["step_000000001.pt"]
    assert load_state(tmp_path)["w"].shape == (50_000,)
