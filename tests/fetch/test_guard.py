"""Addresses that are asked and that are not, and how much is read from them."""

import ipaddress
import socket
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.fetch.guard import Budget, Exhausted, Guard, Refused, TooSlow, is_public
from tests.fetch.server import serving

PRIVATE = [
    "0.0.0.0", "10.1.2.3", "100.64.0.1", "127.0.0.1", "127.8.9.1", "169.254.169.254", "172.16.0.1",
    "192.0.2.1", "192.168.1.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
    "255.255.255.255", "::", "::1", "::7f00:1", "::ffff:127.0.0.1", "::ffff:8.8.8.8",
    "64:ff9b::7f00:1", "64:ff9b::808:808", "64:ff9b:1::1", "2001::1", "2002:7f00:1::", "fc00::1",
    "fd12::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_known(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "142.250.1.1", "2a00:1450:4001::200e", "1.1.1.1"])
def test_public_addresses_are_known(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_ipv4_inside_ipv6_is_never_public(address):
    number = int(address)
    for prefix in ("::ffff:0:0", "64:ff9b::", "2002::"):
        shift = 80 if prefix == "2002::" else 0
        inside = ipaddress.IPv6Address(int(ipaddress.IPv6Address(prefix)) | number << shift)
        assert not is_public(str(inside))


def guard(*private: str, n_bytes: int = 10**6, grace_s: float = 5, proxy=None) -> Guard:
    return Guard(private, 1.0, Budget(n_bytes, grace_s), proxy)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd", "ftp://example.org/a", "gopher://example.org", "data:text/html,x",
        "http://", "https:///path", "http://[::1]/", "http://127.1/", "http://0x7f000001/",
        "http://2130706433/", "http://0/", "http://169.254.169.254/latest", 
        "http://[::ffff:10.0.0.1]/", "http://user:word@192.168.0.1/", "http://[fe80::1]/",
        "http://127.0.0.1:99999/", "nothing",
    ],
)  # fmt: skip
def test_what_must_not_be_asked_is_refused_before_anything_is_sent(url):
    with pytest.raises(Refused, match="refused"):
        guard("127.0.0.1", "example.org").check(url)


def test_a_host_may_be_private_only_by_its_own_name():
    with serving({}) as server:
        where = ("127.0.0.1", server.server_port)
        guard("127.0.0.1").connect(where).close()
        guard("LOCALHOST.").connect(("localhost", server.server_port)).close()
        for name in ("localhost", "127.0.0.2"):
            with pytest.raises(Refused, match="private"):
                guard("127.0.0.1").connect((name, server.server_port))
        with pytest.raises(Refused, match="private"):
            guard().connect(where)


def test_what_was_checked_is_what_is_connected_to(monkeypatch):
    """A name is looked up once: what it leads to a moment later does not matter."""
    answers = []

    def looked_up(host, port, *_):
        answers.append(host)
        address = "127.0.0.1" if len(answers) == 1 else "127.0.0.77"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    with serving({}) as server:
        monkeypatch.setattr(socket, "getaddrinfo", looked_up)
        with guard("films.test").connect(("films.test", server.server_port)) as made:
            assert made.getpeername() == ("127.0.0.1", server.server_port)
        assert answers == ["films.test"]
        with pytest.raises(Refused):
            guard().connect(("films.test", server.server_port))


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("8.8.8.8", "10.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_: found)
    with pytest.raises(Refused, match=r"10\.0\.0\.1"):
        guard().connect(("rebinding.test", 80))


def test_bytes_and_time_end():
    budget = Budget(1000, 0.2, least_bytes_per_s=1000)
    budget.spend(1000)
    with pytest.raises(Exhausted, match="too large"):
        budget.spend(1)
    assert 0.9 < budget.wait_s(30) < 1.3  # a second more for a thousand bytes
    slow = Budget(1000, 0.05)
    time.sleep(0.06)
    with pytest.raises(TooSlow, match="timed out"):
        slow.wait_s(1)
    steady = Budget(10**9, 0.05, most_s=0.05)
    steady.used = 10**8
    time.sleep(0.06)
    with pytest.raises(TooSlow):
        steady.wait_s(1)


def test_a_proxy_may_be_on_this_machine_and_its_targets_may_not(monkeypatch):
    with serving({}) as server:
        through = guard(proxy=server.url)
        through.connect(("127.0.0.1", server.server_port)).close()
        through.check("http://films.invalid/a.mp4")  # the proxy may know that name
        for url in ("http://127.0.0.1/", "http://localhost:8000/", "http://[::1]/"):
            with pytest.raises(Refused):
                through.check(url)
