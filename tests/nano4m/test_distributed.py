"""Two CPU processes train the model that one trains: DDP and FSDP2 over gloo, by torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from nano4m_audio.nano4m.distributed import Ranks, leave
from nano4m_audio.nano4m.settings import Hardware
from nano4m_audio.nano4m.train import share_of
from tests.conftest import ROOT
from tests.nano4m.test_train import SETTINGS, assert_same_run, change, run, some_data

#: Batches of 7 samples: the processes have 3 and 4, with different numbers of targets.
UNEVEN = change(change(SETTINGS, "model", encoder_depth=2, decoder_depth=2), "optim", batch_size=7)
#: A clock of 0 s saves every ten steps, the moments at which several processes agree on it.
HARDWARE = Hardware(device="cpu", devices=2, checkpoint_every_s=0.0)


def worker(folder: Path, sharded: bool, stop: int | None) -> None:
    """What each process runs; ``stop`` ends them at that step, as a kill would."""

    def watch(step, model, rows):
        if step == stop:
            os._exit(9)

    hardware = HARDWARE.model_copy(update={"shard_weights": sharded})
    result = run(folder, UNEVEN, hardware=hardware, watch=watch)
    if os.environ["RANK"] == "0":
        torch.save(result.weights, folder / "weights.pt")
        found = {"metrics": result.metrics, "resumed": result.resumed_from_step}
        (folder / "found.json").write_text(json.dumps(found))
    leave()


def torchrun(folder: Path, sharded: bool = False, stop: int | None = None) -> int:
    code = (
        "import sys; from pathlib import Path; from tests.nano4m.test_distributed import worker;"
        f"worker(Path({str(folder)!r}), {sharded}, {stop})"
    )
    script = folder / "worker.py"
    script.write_text(code)
    launcher = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", *launcher], env=environment, capture_output=stop is not None
    ).returncode


def check_same_training(folder: Path, alone) -> None:
    found = json.loads((folder / "found.json").read_text())
    ours, theirs = ([tuple(row) for row in x] for x in (found["metrics"], alone.metrics))
    assert [(r[0], r[1], r[2], r[5]) for r in ours] == [(r[0], r[1], r[2], r[5]) for r in theirs]
    np.testing.assert_allclose([r[3] for r in ours], [r[3] for r in theirs], rtol=1e-4)
    weights = torch.load(folder / "weights.pt", weights_only=True)
    for name, value in alone.weights.items():
        np.testing.assert_allclose(weights[name], value, atol=2e-3, err_msg=name)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    return run(tmp_path_factory.mktemp("alone"), UNEVEN)


@pytest.mark.slow
def test_two_processes_train_like_one_and_continue_after_a_kill(tmp_path, alone):
    assert torchrun(tmp_path, stop=17) != 0
    assert torchrun(tmp_path) == 0
    assert json.loads((tmp_path / "found.json").read_text())["resumed"] == 10
    check_same_training(tmp_path, alone)


@pytest.mark.slow
def test_sharded_weights_train_like_whole_ones(tmp_path, alone):
    assert torchrun(tmp_path, sharded=True, stop=17) != 0
    assert torchrun(tmp_path, sharded=True) == 0
    check_same_training(tmp_path, alone)


def test_the_shares_of_all_processes_are_the_batch():
    batch = some_data(20).batch(3, 7, UNEVEN.masking, 0)
    whole = share_of(batch, UNEVEN, Ranks(torch.device("cpu")))
    shares = [share_of(batch, UNEVEN, Ranks(torch.device("cpu"), r, 3)) for r in range(3)]
    for side in ("inputs", "targets"):
        joined = torch.cat([getattr(s, side).tokens for s in shares])
        assert torch.equal(joined, getattr(whole, side).tokens)
        lengths = [n for s in shares for n in getattr(s, side).lengths]
        assert lengths == getattr(whole, side).lengths
    for share in shares:
        assert share.counts.tolist() == whole.counts.tolist()
        np.testing.assert_allclose(share.weights, np.multiply(3, whole.weights))


def test_more_processes_than_samples_are_refused():
    with pytest.raises(ValueError, match="batch_size 2 is below the number of devices 3"):
        Ranks(torch.device("cpu"), 0, 3).share(2)


def test_one_process_with_several_devices_named_is_itself(tmp_path, alone):
    assert_same_run(alone, run(tmp_path, UNEVEN, hardware=HARDWARE))
