"""What the player of YouTube answers, as yt-dlp's own extractor for YouTube says it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Callable
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from nano4m_audio.config.sources import Web
from nano4m_audio.fetch import resolve as resolving
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.resolve import Resolved, resolve
from tests.fetch import server as serve

ID = "dQw4w9WgXcQ"
WATCH = (
    "<html><script>ytcfg.set({'INNERTUBE_CONTEXT': {'client': {}}});"
    "var ytInitialPlayerResponse = {};var ytInitialData = {};</script></html>"
).replace("'", '"')


def formats(*itags: int) -> dict[str, Any]:
    known = {
        18: ('video/mp4; codecs="avc1.42001E, mp4a.40.2"', 360),
        134: ('video/mp4; codecs="avc1.4d401e"', 360),
        135: ('video/mp4; codecs="avc1.4d401f"', 480),
        140: ('audio/mp4; codecs="mp4a.40.2"', None),
    }
    found = []
    for itag in itags:
        mime, height = known[itag]
        one = {"itag": itag, "url": f"https://r1.googlevideo.com/videoplayback?itag={itag}&c=TVHTML5",
               "mimeType": mime, "bitrate": 1000, "contentLength": "1000"}  # fmt: skip
        size = {"height": height, "width": height * 16 // 9} if height else {}
        found.append(one | size)
    return {"adaptiveFormats": found}


@contextmanager
def player(monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any] | serve.Answer, watch=None):
    """YouTube on this machine: its page, and ``answer`` for whatever client asks the player."""
    if isinstance(answer, dict):
        whole = {"videoDetails": {"videoId": ID, "title": "a", "lengthSeconds": "60"}} | answer
        body = json.dumps(whole).encode()
        answer = serve.status(200, body, Content_Type="application/json")
    following = json.dumps({"contents": {"twoColumnWatchNextResults": {}}}).encode()
    answers = {
        "/watch": watch or serve.page(WATCH),
        "/youtubei/v1/player": answer,
        "/youtubei/v1/next": serve.status(200, following, Content_Type="application/json"),
    }
    guarded: Callable[..., Any] = resolving._guarded
    with serve.serving(answers) as server:

        def local(guard: Any, log: Any, do_open: Any, _: Any, request: Any, **named: Any) -> Any:
            parts = urlsplit(request.full_url)
            request.full_url = f"{server.url}{parts.path}?{parts.query}"
            named.pop("context", None)
            return guarded(guard, log, do_open, http.client.HTTPConnection, request, **named)

        monkeypatch.setattr(resolving, "_guarded", local)
        monkeypatch.setattr(resolving.Guard, "check", lambda *_: None)
        yield server


def ask(web: Web) -> Resolved:
    asked = web.model_copy(update={"clients": ("visionos",)})
    return resolve(f"https://www.youtube.com/watch?v={ID}", asked)


def unplayable(status: str, reason: str, subreason: str = "") -> dict[str, Any]:
    """A playabilityStatus as the player writes it."""
    screen = {"reason": {"simpleText": reason}}
    if subreason:
        screen["subreason"] = {"simpleText": subreason}
    return {
        "playabilityStatus": {
            "status": status,
            "reason": reason,
            "errorScreen": {"playerErrorMessageRenderer": screen},
        }
    }


SAID = [
    ("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot", ""),
    ("ERROR", "This content isn’t available, try again later.", ""),
    ("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video"),
    ("ERROR", "Video unavailable", "This video is no longer available because the YouTube account "
     "associated with this video has been terminated."),
    ("ERROR", "Video unavailable", "This video has been removed by the uploader"),
    ("ERROR", "This video has been removed for violating YouTube's Terms of Service", ""),
    ("ERROR", "Video unavailable", "This video is no longer available due to a copyright claim by "
     "Someone"),
    ("UNPLAYABLE", "Video unavailable", "This video contains content from Someone, who has blocked "
     "it in your country on copyright grounds"),
    ("UNPLAYABLE", "Video unavailable", "The uploader has not made this video available in your "
     "country"),
    ("UNPLAYABLE", "Join this channel to get access to members-only content like this video", ""),
    ("UNPLAYABLE", "This video requires payment to watch", ""),
    ("LIVE_STREAM_OFFLINE", "Premieres in 3 hours", ""),
    ("LIVE_STREAM_OFFLINE", "This live event will begin in 2 days.", ""),
    ("UNPLAYABLE", "This live stream recording is not available.", ""),
    ("UNPLAYABLE", "Watch this video on the latest version of YouTube",
     "The following content is not available on this app."),
    ("ERROR", "Video unavailable", "This video is unavailable"),
    ("ERROR", "The page needs to be reloaded.", ""),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reason", "subreason"), SAID)
def test_what_the_player_says_arrives(monkeypatch, web, status, reason, subreason):
    """The words that say what is wrong with a video are in the text of the error."""
    with (
        player(monkeypatch, unplayable(status, reason, subreason)),
        pytest.raises(FetchError) as caught,
    ):
        ask(web)
    text = caught.value.text.replace("’", "'").lower()
    wanted = (subreason or reason).replace("’", "'").rstrip(".").lower()
    assert wanted in text
    assert caught.value.place == "page"
    assert caught.value.status is None


@pytest.mark.parametrize(
    ("itags", "chosen"), [((18, 135, 140), "18"), ((134, 135, 140), "135+140"), ((134,), "134")]
)
def test_a_video_that_plays(monkeypatch, web, itags, chosen):
    playing = {"playabilityStatus": {"status": "OK"}, "streamingData": formats(*itags)}
    with player(monkeypatch, playing):
        found = ask(web)
    assert (found.format_id, found.video_id, found.duration_s) == (chosen, ID, 60)
    assert found.client == "TVHTML5"  # as the addresses say


def test_a_live_stream(monkeypatch, web):
    details = {"videoId": ID, "title": "a", "lengthSeconds": "0", "isLive": True}
    playing = {
        "playabilityStatus": {"status": "OK"},
        "streamingData": formats(18),
        "videoDetails": details,
    }
    with player(monkeypatch, playing), pytest.raises(FetchError, match="live_status: is_live"):
        ask(web)


def test_a_video_without_formats(monkeypatch, web):
    playing = {"playabilityStatus": {"status": "OK"}, "streamingData": {}}
    with player(monkeypatch, playing), pytest.raises(FetchError) as caught:
        ask(web)
    assert "format" in caught.value.text


def test_too_many_requests(monkeypatch, web):
    wall = serve.status(429, Retry_After="900")
    with player(monkeypatch, wall, watch=wall), pytest.raises(FetchError) as caught:
        ask(web)
    error = caught.value
    assert (error.status, error.retry_after_s) == (429, 900), (error.text, error.warnings)
