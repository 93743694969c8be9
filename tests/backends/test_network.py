"""One short look at hosts: who answers, who does not, and how long it may take."""

from __future__ import annotations

import socket
import time

import pytest

from nano4m_audio.backends import network
from tests.backends import web


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch):
    monkeypatch.setattr(network, "SECOND_LOOK_S", 0.05)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_only_the_hosts_that_do_not_answer_are_named():
    with web.serving({}) as server:
        dead = f"http://127.0.0.1:{closed_port()}/a"
        unknown = "https://no-such-host.invalid/a"
        found = network.unreachable([f"{server.url}/a", dead, unknown])
    assert set(found) == {dead, unknown}
    assert "refused" in found[dead].lower()
    assert server.seen == []
    assert "no-such-host.invalid (" in network.hosts(found)


def test_many_silent_hosts_take_no_longer_than_one(monkeypatch):
    """A full backlog answers nothing, like a firewall that drops what it gets."""
    monkeypatch.setattr(network, "TIMEOUT_S", 0.5)
    silent, held = [], []
    for _ in range(6):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        held.append(listener)
        for _ in range(3):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
            held.append(filler)
        silent.append(f"http://127.0.0.1:{listener.getsockname()[1]}/a")
    started = time.monotonic()
    found = network.unreachable(silent)
    assert time.monotonic() - started < 2.5
    for open_socket in held:
        open_socket.close()
    assert set(found) == set(silent)


def test_a_host_that_comes_back_for_the_second_look_is_there(monkeypatch):
    port = closed_port()

    def open_it(_: float) -> None:
        late.bind(("127.0.0.1", port))
        late.listen(1)

    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        monkeypatch.setattr(network.time, "sleep", open_it)
        assert network.unreachable([f"http://127.0.0.1:{port}/a"]) == {}


def test_behind_a_proxy_the_proxy_is_what_must_answer(monkeypatch):
    with web.serving({}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        assert network.unreachable(["https://no-such-host.invalid/a"]) == {}
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{closed_port()}")
    assert network.unreachable(["https://no-such-host.invalid/a"])


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://[", "", "http://a:99999999/x"])
def test_what_is_not_fetched_is_not_asked(url):
    assert network.unreachable([url]) == {}
