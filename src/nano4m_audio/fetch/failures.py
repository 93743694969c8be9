"""What fails between here and a server of media, in the words of FetchError."""

from __future__ import annotations

import email.utils
import http.client
import re
import socket
import ssl
import time
from typing import Any

from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.guard import Exhausted, Refused, TooSlow


def retry_after_s(headers: Any) -> float | None:
    """Seconds of a Retry-After header, which holds a number or a date."""
    said = (headers.get("Retry-After") or "").strip()
    if re.fullmatch(r"\d{1,9}", said):
        return float(said)
    try:
        at = email.utils.parsedate_to_datetime(said)
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, at.timestamp() - time.time())


def may_pass(error: Exception) -> bool:
    """May asking again at once help?"""
    final = Refused | Exhausted | TooSlow | ssl.SSLCertVerificationError | socket.gaierror
    return not isinstance(error, final)


def failure(error: Exception) -> FetchError:
    """What failed on the way to the media, as FetchError."""
    if isinstance(error, http.client.IncompleteRead):
        text = f"content too short: {error.expected} more bytes expected"
    elif isinstance(error, socket.gaierror):
        text = f"name resolution: {error.strerror}"
    elif isinstance(error, ssl.SSLCertVerificationError):
        text = f"certificate verify failed: {error.verify_message}"
    elif isinstance(error, TimeoutError) and "timed out" not in str(error):
        text = f"timed out: {error}"
    elif isinstance(error, ConnectionResetError | BrokenPipeError):
        text = f"connection reset: {error}"
    elif isinstance(error, http.client.HTTPException):
        text = f"no HTTP answer: {type(error).__name__}: {str(error)[:200]}"
    else:
        text = str(error)
    return FetchError(text, place="media")
