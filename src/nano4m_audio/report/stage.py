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
from nano4m_audio.report import changes, figures
from nano4m_audio.report.collect import SECTIONS, Content, collect
from nano4m_audio.report.inputs import ReportInputs
from nano4m_audio.report.metrics import REPORTED_PROBES, short_verdict
from nano4m_audio.report.text import (
    count,
    difference,
    duration,
    fact,
    filtered,
    metric,
    share,
    short,
    signed,
    size,
    words,
)
from nano4m_audio.report.training import value_text

_PACKAGE = "nano4m_audio.report"
#: What runs on the report's page: files of static/.
SCRIPTS = ("page.js", "previews.js", "explorer.js")


def build_report(
    inputs: ReportInputs, out: Path, *, with_examples: bool = True, threads: int = 1
) -> None:
    """Write the page, and what the next one compares with. Equal inputs, that summary and the
    files of costs.py among them, give equal bytes; the page asks the network for nothing.

    Without examples no model and no torch is loaded. Raises UserError for missing or contradictory
    tables, FunnelError when the counts do not add up.
    """
    inputs = replace(inputs, threads=threads if with_examples else 0)
    write_bytes(out, render(collect(inputs)).encode("utf-8", "replace"))
    changes.keep(inputs)


def render(content: Content) -> str:
    """The HTML of the page."""
    titles = {section.name: section.title for section in SECTIONS}
    titles |= {f"metrics-{probe.name}": probe.title for probe in REPORTED_PROBES}
    known: dict[str, Any] = {
        "figures": figures,
        "filters": LISTED,
        "probes": REPORTED_PROBES,
        "sections": SECTIONS,
        "titles": titles,
        "short_verdict": short_verdict,
        "most": changes.MOST,
    }
    known["browser"] = content.config["report"]["browser"] != 0
    return render_page("report.html.j2", SCRIPTS, c=content, **known)


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
    plain = (count, share, metric, difference, short, words, signed, filtered)
    for shown in (*plain, duration, size, fact):
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
    """The text of some escaped HTML, for an attribute; without a link to the numbers' file."""
    html = re.sub(r'<a class="json".*?</a>', "", html)
    return " ".join(re.sub(r"<[^>]*>", "", html).replace('"', "&#34;").split())
