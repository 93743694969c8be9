"""Which files beside the report show a clip, so that its tables and lists have pictures and sound.

They are those of ``clips.html``, in ``clips_media``. The page is complete without them: whoever has
the page alone sees names.
"""

from __future__ import annotations

from nano4m_audio.files import read_json
from nano4m_audio.paths import Results
from nano4m_audio.report.inputs import ReportInputs

#: Of more clips than these nothing is said: a name takes some sixty bytes of the page.
_MOST = 10_000


def collect(inputs: ReportInputs) -> dict[str, str]:
    """Clip id -> its files without their endings (browser.media.CLIP_ENDINGS), as the page names
    them. Raises UserError for an index that cannot be read."""
    if inputs.config["report"]["browser"] == 0:
        return {}
    results = Results(inputs.results)
    found: dict[str, str] = {}
    for shard in results.shards:
        index = results.clip_media(shard)
        if index.exists():
            rows = read_json(index, f"run: browse media --shard {shard}")
            place = f"{index.parent.name}/{shard}"
            found |= {name: f"{place}/{row['clip']}" for name, row in rows.items() if "clip" in row}
    return dict(sorted(found.items())[:_MOST])
