"""A call in a child process: whatever the child does, the caller gets an answer and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from nano4m_audio.acquire.child import Child, Died, Limits
from nano4m_audio.reasons import Reason
from tests.acquire import hostile
from tests.conftest import ROOT

LIMITS = Limits(memory_mb=600, cpu_s=2, wall_s=120)  # a busy machine is not a failure


@pytest.fixture(autouse=True)
def children_find_the_tests(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def test_one_child_does_many_calls():
    with Child(hostile.act, LIMITS) as act:
        answers = {act("nothing") for _ in range(20)}
    assert len(answers) == 1
    assert str(os.getpid()) not in answers.pop()


@pytest.mark.parametrize(
    ("harm", "reason", "said"),
    [
        ("crash", Reason.CRASHED, "SIGSEGV"),
        ("abort", Reason.CRASHED, "SIGABRT"),
        ("exit", Reason.CRASHED, "exit status 3"),
        ("fill", Reason.OUT_OF_MEMORY, "600 MB"),
        ("spin", Reason.OUT_OF_TIME, "2 s of processor time"),
        ("killed", Reason.INTERRUPTED, "SIGKILL"),
    ],
)
def test_a_death_is_named_and_the_next_call_works(harm, reason, said):
    with Child(hostile.act, LIMITS) as act:
        before = act("nothing")
        with pytest.raises(Died) as caught:
            act(harm)
        assert caught.value.reason == reason
        assert said in caught.value.message
        assert act("nothing") != before


def test_a_child_that_waits_for_ever_is_given_up():
    with Child(hostile.act, Limits(600, 2, 0.5)) as act:
        with pytest.raises(Died) as caught:
            act("hang")
        assert caught.value.reason == Reason.INTERRUPTED


def test_processor_time_is_counted_per_call():
    with Child(hostile.burn, LIMITS) as burn:
        assert len({burn(0.8) for _ in range(5)}) == 1  # 4 s in one process


def test_an_error_of_the_function_is_the_callers():
    with (
        Child(hostile.fail, LIMITS) as fail,
        pytest.raises(RuntimeError, match="ValueError: no 3"),
    ):
        fail(3)


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            os.kill(pid, 0)
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rsplit(")")[-1].split()[0] == "Z":
                    return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.05)
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="the system tells children only on Linux")
@pytest.mark.parametrize(
    ("harm", "how"), [("spin", signal.SIGKILL), ("hang", signal.SIGINT), ("hang", signal.SIGTERM)]
)
def test_no_child_outlives_its_parent(harm, how):
    code = (
        "from nano4m_audio.acquire.child import Child, Limits\n"
        "from tests.acquire import hostile\n"
        "with Child(hostile.act, Limits(600, 60, 60)) as act:\n"
        "    print(act('nothing').split()[-1], flush=True)\n"
        f"    act({harm!r})\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.1)
        parent.send_signal(how)
        parent.wait(60)
    assert _gone(child)
