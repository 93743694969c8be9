"""Numbers and names as the pages show them."""

from __future__ import annotations


def count(value: float | None) -> str:
    """12345 -> 12,345; None -> a dash."""
    return "\N{EN DASH}" if value is None else f"{value:,.0f}"


def share(value: float | None, digits: int = 0) -> str:
    """0.934 -> 93 %."""
    if value is None:
        return "\N{EN DASH}"
    return f"{signed(100 * value, digits)}\N{NARROW NO-BREAK SPACE}%"


def metric(value: float | None, unit: str = "") -> str:
    """A value in the style of its unit: accuracies as percentages, nats and dB as decimals."""
    if value is None:
        return "\N{EN DASH}"
    if unit in ("accuracy", "fraction", "share"):
        return share(value, 1 if abs(value) >= 0.001 or value == 0 else 3)
    if unit == "dB":
        return f"{value:.1f}\N{NARROW NO-BREAK SPACE}dB"
    if unit == "degrees":
        return f"{value:.1f}\N{DEGREE SIGN}"
    return signed(value, 3)


def difference(value: float, unit: str = "") -> str:
    """A difference with its sign; of shares in percentage points."""
    points = unit in ("accuracy", "fraction", "share")
    text = f"{100 * value:+.1f}" if points else f"{value:+.3f}"
    return text.replace("-", "\N{MINUS SIGN}")


def signed(value: float | None, digits: int = 2) -> str:
    """A decimal with a true minus sign."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")


def filtered(value: float | None, unit: str) -> str:
    """The number that a filter compares, by its unit: scores have none, and two decimals."""
    return share(value) if unit == "share" else signed(value, 0 if unit else 2)


def short(text: str | None, length: int = 12) -> str:
    """The beginning of a digest."""
    return str(text or "")[:length]


def words(name: str) -> str:
    """audio_low -> audio low."""
    return str(name).replace("_", " ")
