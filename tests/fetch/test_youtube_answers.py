"""YouTube's own answers, through the real yt-dlp: its player says something, the table knows it."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest

from nano4m_audio.config.sources import Web
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import classify
from nano4m_audio.fetch.resolve import resolve

pytest.importorskip("yt_dlp")
VIDEO = "dQw4w9WgXcQ"
CLAIM = "This video contains content from Example Media, who has blocked it"
GEO = "The uploader has not made this video available in your country"


CONFIG = {"INNERTUBE_CONTEXT": {"client": {"clientName": "WEB", "clientVersion": "2.20261001",
                                           "visitorData": "x"}}}  # fmt: skip


def runs(text: str) -> dict[str, Any]:
    return {"runs": [{"text": text}]}


def player(
    status: str, reason: str = "", subreason: str = "", *, interstitial: bool = False, **more: Any
) -> dict[str, Any]:
    """An answer of the player: as renderer of an error, or as the newer interstitial view."""
    screen: dict[str, Any] = {"playerErrorMessageRenderer": {
        "reason": {"simpleText": reason}, "subreason": runs(subreason)}}  # fmt: skip
    if interstitial:
        screen = {"playerInterstitialRenderer": {"content": {"interstitialViewModel": {
            "title": {"content": reason}, "description": {"content": subreason}}}}}  # fmt: skip
    playability = {"status": status, "reason": reason, "errorScreen": screen | more}
    return {"playabilityStatus": playability, "videoDetails": {"videoId": VIDEO, "title": "x"}}


class Site:
    """Answers what yt-dlp asks of YouTube, without a network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.player: Any = player("OK")
        self.status = 200
        self.asked: list[str] = []
        monkeypatch.setattr("yt_dlp.networking._urllib.UrllibRH._send", self.send)
        monkeypatch.setattr("nano4m_audio.fetch.guard.Guard.check", lambda *_: None)

    def send(self, request: Any) -> Any:
        from yt_dlp.networking.common import Response
        from yt_dlp.networking.exceptions import HTTPError

        url = request.url
        self.asked.append(url)
        body: bytes = b""
        status = 200
        if "/youtubei/v1/player" in url:
            body, status = json.dumps(self.player).encode(), self.status
        elif "/youtubei/" in url:
            body = b"{}"
        elif "/watch" in url or "/embed/" in url:
            initial = json.dumps(self.player)
            scripts = (
                f"ytcfg.set({json.dumps(CONFIG)});",
                f"var ytInitialPlayerResponse = {initial};",
            )
            body = "".join(f"<script>{script}</script>" for script in scripts).encode()
        response = Response(io.BytesIO(body), url, {"Content-Type": "text/html"}, status=status)
        if status != 200:
            raise HTTPError(response)
        return response


@pytest.fixture
def site(monkeypatch):
    return Site(monkeypatch)


def answer(site: Site) -> FetchError:
    settings = Web(request_sleep_s=0.0)
    with pytest.raises(FetchError) as caught:
        resolve(f"https://www.youtube.com/watch?v={VIDEO}", settings)
    assert site.asked
    error = caught.value  # what this machine lacks is not the question
    error.warnings = tuple(text for text in error.warnings if "JavaScript runtime" not in text)
    return error


ANSWERS = [
    (("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot",
      "This helps protect our community. Learn more"), "bot_wall", "address"),
    (("UNPLAYABLE", "Video unavailable", "This content isn't available, try again later."),
     "rate_limited", "address"),
    (("ERROR", "The page needs to be reloaded."), "extractor", "config"),
    (("LOGIN_REQUIRED", "Private video",
      "Sign in if you've been granted access to this video"), "private", "long"),
    (("ERROR", "This video is private"), "private", "long"),
    (("ERROR", "Video unavailable", "This video is no longer available because the YouTube account "
      "associated with this video has been terminated."), "removed", "permanent"),
    (("ERROR", "Video unavailable", "This video has been removed by the uploader"),
     "removed", "permanent"),
    (("ERROR", "Video unavailable", "This video has been removed for violating YouTube's Terms of "
      "Service"), "removed", "permanent"),
    (("ERROR", "Video unavailable", "This video is no longer available due to a copyright claim by "
      "Example Records"), "copyright", "permanent"),
    (("UNPLAYABLE", "Video unavailable", f"{CLAIM} in your country on copyright grounds"),
     "geo_blocked", "long"),
    (("UNPLAYABLE", "Video unavailable", f"{CLAIM} on copyright grounds"), "copyright", "long"),
    (("UNPLAYABLE", "Video unavailable", GEO), "geo_blocked", "long"),
    (("LOGIN_REQUIRED", "Sign in to confirm your age",
      "This video may be inappropriate for some users."), "age_restricted", "long"),
    (("LOGIN_REQUIRED", "Please sign in"), "login_required", "long"),
    (("UNPLAYABLE", "Join this channel to get access to members-only content like this video, and "
      "other exclusive perks."), "members_only", "permanent"),
    (("UNPLAYABLE", "This video requires payment to watch"), "paid", "permanent"),
    (("UNPLAYABLE", "Video unavailable", "This video is only available to Music Premium members"),
     "paid", "permanent"),
    (("LIVE_STREAM_OFFLINE", "Premieres in 21 hours"), "not_yet", "transient"),
    (("LIVE_STREAM_OFFLINE", "This live event will begin in a few moments."),
     "not_yet", "transient"),
    (("UNPLAYABLE", "This live stream recording is not available."), "removed", "long"),
    (("LIVE_STREAM_OFFLINE", "This live event has ended."), "removed", "long"),
    (("UNPLAYABLE", "The following content is not available on this app.",
      "Watch this content on the latest version of YouTube."), "client", "config"),
    (("ERROR", "Video unavailable"), "unavailable", "long"),
    (("ERROR", "This video is unavailable"), "unavailable", "long"),
    (("UNPLAYABLE", "Video unavailable", "This video is not available"), "unavailable", "long"),
    (("ERROR", "The cat is asleep"), "unknown", "transient"),
]  # fmt: skip


@pytest.mark.parametrize("interstitial", [False, True], ids=["renderer", "interstitial"])
@pytest.mark.parametrize(("said", "name", "kind"), ANSWERS)
def test_the_players_answer_is_known(site, said, name, kind, interstitial):
    status, reason, *more = said
    site.player = player(status, reason, *more, interstitial=interstitial)
    fault = classify(answer(site))
    assert (fault.name, fault.kind) == (name, kind), fault.raw
    assert fault.raw and "cookies" not in fault.raw[:40]


def test_a_captcha(site):
    site.player = player("ERROR", "Video unavailable", playerCaptchaViewModel={"x": 1})
    assert classify(answer(site)).name == "bot_wall"


def test_keys_for_its_media(site):
    site.player = player("OK") | {"streamingData": {"licenseInfos": [{"drmFamily": "WIDEVINE"}]}}
    assert classify(answer(site)).name == "drm"


def test_another_videos_answer(site):
    site.player = player("OK")
    site.player["videoDetails"]["videoId"] = "aaaaaaaaaaa"
    assert classify(answer(site)).name == "bot_wall"


@pytest.mark.parametrize(
    ("status", "name"), [(429, "rate_limited"), (403, "forbidden"), (503, "server_error")]
)
def test_the_players_status(site, status, name):
    site.status = status
    site.player = None
    fault = classify(answer(site))
    assert fault.name == name
