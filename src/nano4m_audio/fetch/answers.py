"""What a site, or yt-dlp on its behalf, answers when there is no video."""

from __future__ import annotations

from typing import Literal


class FetchError(Exception):
    """No video, or no piece of it. What it means is for ``faults.classify`` to say.

    ``text`` is the message as it came, ``warnings`` what yt-dlp said before it. ``status`` and
    ``retry_after_s`` are those of the HTTP answer, if that was it. ``place`` says who answered:
    the "page" of the video (also the site's player), or the server of the "media".
    """

    def __init__(
        self,
        text: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        place: Literal["page", "media"] = "page",
        warnings: tuple[str, ...] = (),
    ) -> None:
        super().__init__(text)
        self.text, self.status, self.retry_after_s = text, status, retry_after_s
        self.place, self.warnings = place, warnings
