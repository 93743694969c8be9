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


def duration(seconds: float | None) -> str:
    """8 -> 8 s; 196 -> 3 min 16 s; 7300 -> 2 h 2 min; None -> a dash."""
    if seconds is None:
        return "\N{EN DASH}"
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    minutes = round(seconds / 60)
    return f"{minutes // 60:,} h {minutes % 60} min"


def size(n: float) -> str:
    """Bytes in the largest decimal unit: 515000000 -> 515 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < 999.5:
            return f"{n:.0f} {unit}" if n >= 9.95 or unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} TB"


def fact(value: float | None) -> str:
    """A number of any size as it is said: 95838720 -> 95,838,720; 0.0001 stays; None -> a dash."""
    if value is None:
        return "\N{EN DASH}"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.3g}"
