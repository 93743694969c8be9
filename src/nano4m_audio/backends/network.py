"""Which hosts can be reached: a short check of each, before a download is tried."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

TIMEOUT_S = 4.0
#: A host counts as out of reach when it could not be reached twice, this long apart.
SECOND_LOOK_S = 1.0
_PORTS = {"http": 80, "https": 443}
Address = tuple[str, int]


def unreachable(urls: Iterable[str]) -> dict[str, str]:
    """The URLs whose host, or the proxy towards it, does not answer, and why, in one phrase.

    All hosts are looked up and connected to at the same time, so that this takes a few seconds at
    most (two looks of ``TIMEOUT_S``), however many there are and however silent.
    """
    address_of = {url: address for url in urls if (address := _address(url))}
    silent = _connect_all(set(address_of.values()))
    if silent:
        time.sleep(SECOND_LOOK_S)
        silent = _connect_all(set(silent))
    return {url: silent[a] for url, a in address_of.items() if a in silent}


def hosts(problems: Mapping[str, str]) -> str:
    """``host (why), host (why)`` of what ``unreachable`` found."""
    found = {urlsplit(url).hostname or url: why for url, why in problems.items()}
    return ", ".join(f"{host} ({why})" for host, why in found.items())


def _address(url: str) -> Address | None:
    """Where a request for ``url`` connects to; None for what is not fetched at all."""
    from urllib import request  # every job imports this module, and hardly one needs that

    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        if scheme not in _PORTS or not host:
            return None
        proxy = request.getproxies().get(scheme)
        if proxy and not request.proxy_bypass(host):
            parts = urlsplit(proxy if "//" in proxy else f"//{proxy}")
            return (parts.hostname, parts.port or 80) if parts.hostname else None
        return host, port or _PORTS[scheme]
    except ValueError:  # no address at all: the download says so
        return None


def _connect_all(addresses: set[Address]) -> dict[Address, str]:
    """Those that cannot be connected to, and why."""
    silent = {address: f"no answer within {TIMEOUT_S:.0f} s" for address in addresses}

    def look(address: Address) -> None:
        try:
            socket.create_connection(address, timeout=TIMEOUT_S).close()
        except (OSError, ValueError) as error:
            silent[address] = getattr(error, "strerror", None) or str(error)
        else:
            del silent[address]

    # Daemons: the system's name lookup knows no time limit, and must not keep the program waiting.
    looks = [threading.Thread(target=look, args=(a,), daemon=True) for a in addresses]
    deadline = time.monotonic() + TIMEOUT_S
    for thread in looks:
        thread.start()
    for thread in looks:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(silent)
