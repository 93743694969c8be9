"""From the tables of all stages to one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from markupsafe import Markup

from nano4m_audio.files import write_bytes
from nano4m_audio.filters import LISTED
from nano4m_audio.intervals import MIN_GROUPS
from nano4m_audio.report import figures
from nano4m_audio.report.collect import SECTIONS, Content, collect
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.metrics import REPORTED_PROBES, short_verdict
from nano4m_audio.report.training import value_text

_PACKAGE = "nano4m_audio.report"


def build_report(
    inputs: ReportInputs, out: Path, *, with_examples: bool = True, threads: int = 1
) -> None:
    """Write the page. Equal inputs give equal bytes; nothing in it asks the network for anything.

    Without examples no model and no torch is loaded. Raises UserError for missing or contradictory
    tables, FunnelError when the counts do not add up.
    """
    content = collect(replace(inputs, threads=threads if with_examples else 0))
    write_bytes(out, render(content).encode("utf-8", "replace"))


def render(content: Content) -> str:
    """The HTML of the page."""
    known = {"figures": figures, "filters": LISTED, "probes": REPORTED_PROBES, "sections": SECTIONS}
    known["browser"] = content.config["report"]["browser"] != 0
    return render_page(
        "report.html.j2", ("page.js",), c=content, short_verdict=short_verdict, **known
    )


def render_page(template: str, scripts: Sequence[str] = (), **values: Any) -> str:
    """One of the pages; all text from the tables is escaped by the template engine.

    The one inline script is made of these files of static/, and the page's policy names its hash:
    nothing else can run. Pages are complete without it.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for shown in (count, share, metric, difference, short, words, signed, filtered):
        environment.filters[shown.__name__] = shown
    environment.filters["value"] = value_text
    script = "".join(map(_static, scripts))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment.globals.update(
        css=Markup(_static("report.css")),
        script=Markup(script),
        script_source=f"'sha256-{digest}'" if script else "'none'",
        min_groups=MIN_GROUPS,
        **values,
    )
    return name_regions(environment.get_template(template).render())


def _static(name: str) -> str:
    return resources.files(_PACKAGE).joinpath("static", name).read_text("utf-8")


def name_regions(html: str) -> str:
    """Let the keyboard reach every table that may scroll, named by its heading and first column.

    A name that was there before gets a number.
    """
    heading, pieces, last = "", [], 0
    seen: Counter[str] = Counter()
    for found in re.finditer(r'<(h[23])[^>]*>(.*?)</\1>|<div class="scroll">', html, re.DOTALL):
        if found[1]:
            heading = _plain(found[2])
            continue
        first = re.compile(r"<th[^>]*>(.*?)</th>", re.DOTALL).search(html, found.end())
        name = f"{heading}: {_plain(first[1])}" if first else heading
        seen[name] += 1
        name += f" ({seen[name]})" if seen[name] > 1 else ""
        pieces.append(html[last : found.start()])
        pieces.append(f'<div class="scroll" tabindex="0" role="region" aria-label="{name}">')
        last = found.end()
    return "".join([*pieces, html[last:]])


def _plain(html: str) -> str:
    """The text of some escaped HTML, for an attribute."""
    return " ".join(re.sub(r"<[^>]*>", "", html).replace('"', "&#34;").split())


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
