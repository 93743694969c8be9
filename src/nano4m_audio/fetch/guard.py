"""Connections to the public web and nowhere else, bounded in time and bytes.

The address that is checked is the address that is connected to, so that no name can lead elsewhere
in between. All that is read goes through sockets that know how much of it may still come.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import time
from collections.abc import Collection
from contextlib import suppress
from typing import Any
from urllib import request
from urllib.parse import unquote, urlsplit

#: So many hops from one address to the next are followed.
MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}
_SOCKS = {"socks4": False, "socks4a": True, "socks5": False, "socks5h": True}  # who looks names up
#: IPv6 addresses that stand for IPv4 ones: translated (NAT64), 6to4, Teredo.
_IPV4_INSIDE = tuple(
    map(ipaddress.IPv6Network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32"))
)


class Refused(OSError):
    """An address that must not be asked; the message says which and why."""


class Exhausted(OSError):
    """More came than may be read."""


class TooSlow(TimeoutError):
    """Less came than must come in the time."""


def is_public(address: str) -> bool:
    """Is this IP address one of the public internet?

    Not: private, loopback, link-local, shared, multicast, reserved, and IPv6 that stands for IPv4.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (
        ip.ipv4_mapped or ip.is_site_local or any(ip in net for net in _IPV4_INSIDE)
    ):
        return False
    return ip.is_global and not ip.is_multicast and not ip.is_reserved


class Budget:
    """How much may still be read, and until when.

    There are ``grace_s`` seconds, and one more for every ``least_bytes_per_s`` that came: whoever
    sends more slowly than that in the long run is cut off. ``most_s`` is the end for all.
    """

    def __init__(
        self,
        n_bytes: int,
        grace_s: float,
        least_bytes_per_s: float = 16_384,
        most_s: float = 1800,
    ) -> None:
        self.n_bytes, self.used = n_bytes, 0
        self._began_s = time.monotonic()
        self._grace_s, self._rate, self._most_s = grace_s, least_bytes_per_s, most_s

    def wait_s(self, patience_s: float) -> float:
        """How long to wait for the next bytes. Raises TooSlow when it is too late."""
        took_s = time.monotonic() - self._began_s
        left_s = min(self._grace_s + self.used / self._rate, self._most_s) - took_s
        if left_s <= 0:
            raise TooSlow(f"timed out: {self.used} bytes in {took_s:.0f} s")
        return min(patience_s, left_s)

    def spend(self, n_bytes: int) -> None:
        """Note what came. Raises Exhausted when that is too much."""
        self.used += n_bytes
        if self.used > self.n_bytes:
            raise Exhausted(f"too large: more than {self.n_bytes / 1e6:.0f} MB were sent")


class _Bounded:
    """A socket of which no more is read than the budget has."""

    budget: Budget
    patience_s: float

    def recv_into(self, *arguments: Any, **named: Any) -> int:
        self.settimeout(self.budget.wait_s(self.patience_s))  # type: ignore[attr-defined]
        n_bytes = super().recv_into(*arguments, **named)  # type: ignore[misc]
        self.budget.spend(n_bytes)
        return n_bytes


class Guard:
    """Checks addresses and makes connections for one video.

    ``private_hosts`` are names, or addresses as they are written in an URL, that may be private.
    Through a ``proxy`` (http, socks4, socks5; else that of the environment) only what this machine
    can see of a target is checked: where the proxy connects to is its own matter.
    """

    def __init__(
        self,
        private_hosts: Collection[str],
        timeout_s: float,
        budget: Budget,
        proxy: str | None = None,
    ) -> None:
        self._private = {_plain(host) for host in private_hosts}
        self._timeout_s, self.budget = timeout_s, budget
        around = [p for p in request.getproxies().values() if urlsplit(p).scheme in _SOCKS]
        self.proxy = proxy or next(iter(around), None)
        bounds = {"budget": budget, "patience_s": timeout_s}
        self._socket_class: type[socket.socket] = type("_Socket", (_Bounded, socket.socket), bounds)
        self._tls_class = type("_TlsSocket", (_Bounded, ssl.SSLSocket), bounds)
        proxies = [self.proxy] if self.proxy else list(request.getproxies().values())
        self._made: list[socket.socket] = []
        self._proxies = {_endpoint(address) for address in proxies if "//" in address}

    def tls(self, context: ssl.SSLContext | None = None) -> ssl.SSLContext:
        """``context``, or one that verifies certificates, whose sockets are bounded."""
        context = context or verifying_context()
        context.sslsocket_class = self._tls_class
        return context

    def proxy_of(self, url: str) -> str | None:
        """The proxy through which ``url`` is asked, if any."""
        if self.proxy:
            return self.proxy
        parts = urlsplit(url)
        if request.proxy_bypass(parts.netloc.rpartition("@")[2]):
            return None
        proxy = request.getproxies().get(parts.scheme)
        return proxy if proxy is None or "//" in proxy else f"http://{proxy}"

    def check(self, url: str) -> None:
        """Raise Refused for an ``url`` that must not be asked, before anything is sent.

        Names are checked when they are connected to, or here, where a proxy does that.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError as error:
            raise Refused(f"refused: no address ({error})") from None
        if parts.scheme not in _PORTS:
            raise Refused(f"refused: an address of the kind {parts.scheme[:20]!r}, not http(s)")
        if not host:
            raise Refused("refused: an address without a host")
        if _is_address(host) or self.proxy_of(url):
            with suppress(socket.gaierror):  # the proxy may know the name
                self._resolve(host, port or _PORTS[parts.scheme])

    def connect(
        self, address: tuple[str, int], timeout: Any = None, source_address: Any = None
    ) -> socket.socket:
        """Connect to (host, port): what http.client and urllib call for every connection.

        Raises Refused for an address that is not public, OSError for one that does not answer.
        """
        kind = urlsplit(self.proxy).scheme if self.proxy else ""
        if kind in _SOCKS:
            return self._connect_by_socks(address, kind)
        proxied = (_plain(address[0]), address[1]) in self._proxies
        return self._connect_to(socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)
                                if proxied else self._resolve(*address))  # fmt: skip

    def close(self) -> None:
        """Close the connections that nobody has closed, whoever still holds them."""
        for made in self._made:
            if made.fileno() >= 0:
                os.close(made.detach())

    def _connect_to(self, found: list[Any]) -> socket.socket:
        failure: OSError = OSError("no address")
        for family, kind, protocol, _, where in found:
            made = self._socket_class(family, kind, protocol)
            try:
                made.settimeout(self.budget.wait_s(self._timeout_s))
                made.connect(where)
                self._made.append(made)
                return made
            except OSError as error:
                made.close()
                failure = error
        raise failure

    def _connect_by_socks(self, address: tuple[str, int], kind: str) -> socket.socket:
        """The proxy gets an address that was checked; with socks4a and socks5h perhaps a name."""
        from yt_dlp.socks import ProxyType, sockssocket

        host, port = address
        try:
            host = self._resolve(host, port)[0][4][0]
        except socket.gaierror:
            if not _SOCKS[kind]:
                raise
        parts = urlsplit(self.proxy or "")
        bounds = {"budget": self.budget, "patience_s": self._timeout_s}
        made: Any = type("_SocksSocket", (_Bounded, sockssocket), bounds)()
        made.setproxy(
            getattr(ProxyType, kind.rstrip("h").upper()),
            parts.hostname,
            parts.port or 1080,
            rdns=_SOCKS[kind],
            username=parts.username and unquote(parts.username),
            password=parts.password and unquote(parts.password),
        )
        made.settimeout(self.budget.wait_s(self._timeout_s))
        try:
            made.connect((host, port))
        except OSError:
            made.close()
            raise
        return made

    def _resolve(self, host: str, port: int) -> list[Any]:
        """What getaddrinfo finds; all of it must be allowed. Raises Refused or socket.gaierror."""
        try:
            found = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
        except UnicodeError as error:
            raise Refused(f"refused: {host[:100]!r} is no name of a host") from error
        if _plain(host) not in self._private:
            for *_, where in found:
                if not is_public(str(where[0])):
                    raise Refused(f"refused: {host[:100]} is on a private address ({where[0]})")
        return found


def verifying_context() -> ssl.SSLContext:
    """TLS as yt-dlp does it: the system's certificates, and those of certifi where it is there."""
    context = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        return context
    context.load_verify_locations(certifi.where())
    return context


def _endpoint(address: str) -> tuple[str, int]:
    parts = urlsplit(address)
    return _plain(parts.hostname or ""), parts.port or _PORTS.get(parts.scheme, 1080)


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _is_address(host: str) -> bool:
    """Is ``host`` numbers, in any of the forms that are understood (127.1, 0x7f000001, ::1)?"""
    try:
        socket.getaddrinfo(host, None, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True
