"""Answers without a video, as sites and yt-dlp word them, and what each one means."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nano4m_audio.fetch import faults
from nano4m_audio.fetch.answers import FetchError
from nano4m_audio.fetch.faults import MAX_WAIT_S, RAW_CHARS, classify, cleaned, normalise, table

LOGIN = (
    "Use --cookies-from-browser or --cookies for the authentication. See  "
    "https://github.com/yt-dlp/yt-dlp/wiki/FAQ#how-do-i-pass-cookies-to-yt-dlp  for how to "
    "manually pass cookies. Also see  https://github.com/yt-dlp/yt-dlp/wiki/Extractors#exporting-youtube-"
    "cookies  for tips on effectively exporting YouTube cookies"
)
RATE = (
    "Video unavailable. This content isn’t available, try again later. The current session has "
    "been rate-limited by YouTube for up to an hour. It is recommended to use `-t sleep` to add a "
    "delay between video requests to avoid exceeding the rate limit. For more information, refer "
    "to  https://github.com/yt-dlp/yt-dlp/wiki/Extractors#this-content-isnt-available-try-again-later"
)
NO_FORMAT = "Requested format is not available. Use --list-formats for a list of available formats"
SOLVER = (
    " challenge solving failed: Some formats may be missing. Ensure you have a supported "
    "JavaScript runtime and challenge solver script distribution installed."
)
MEDIA: Any = {"place": "media"}

#: (row, text, the rest of the answer, name, kind)
ANSWERS: list[tuple[str, str, Any, str, str]] = [
    ("1", f"Sign in to confirm you’re not a bot. {LOGIN}", {}, "bot_wall", "address"),
    ("2", RATE, {}, "rate_limited", "address"),
    ("2a", "Your account has been rate-limited by YouTube for up to an hour", {},
     "rate_limited", "address"),
    ("3", "Video unavailable. YouTube is requiring a captcha challenge before playback", {},
     "bot_wall", "address"),
    ("4", "All player responses are invalid. Your IP is likely being blocked by Youtube", {},
     "bot_wall", "address"),
    ("5", "Failed to extract any player response; please report this issue on  "
     "https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the appropriate issue template",
     {}, "extractor", "address"),
    ("6", "The page needs to be reloaded.", {}, "extractor", "config"),
    ("7", "Unable to download API page: HTTP Error 429: Too Many Requests (caused by <HTTPError "
     "429: Too Many Requests>)", {}, "rate_limited", "address"),
    ("7", "Too Many Requests", {"status": 429, **MEDIA}, "rate_limited", "address"),
    ("7b", "Too many requests, slow down", {}, "rate_limited", "address"),
    ("8", f"Private video. Sign in if you've been granted access to this video. {LOGIN}", {},
     "private", "long"),
    ("8", "Video unavailable. This video is private", {}, "private", "long"),
    ("9", "Video unavailable. This video is no longer available because the YouTube account "
     "associated with this video has been terminated.", {}, "removed", "permanent"),
    ("10", "Video unavailable. This video has been removed by the uploader", {},
     "removed", "permanent"),
    ("11", "This video has been removed for violating YouTube's Terms of Service", {},
     "removed", "permanent"),
    ("11", "This video has been removed for violating YouTube’s policy on hate speech. Learn more "
     "about combating hate speech in your country.", {}, "removed", "permanent"),
    ("11", "This video has been removed for violating YouTube's Community Guidelines", {},
     "removed", "permanent"),
    ("12", "Video unavailable. This video is no longer available due to a copyright claim by "
     "Example Records", {}, "copyright", "permanent"),
    ("12", "This video is no longer available because the uploader's account was terminated due to "
     "multiple third-party notifications of copyright infringement.", {}, "copyright", "permanent"),
    ("13", "Video unavailable. This video contains content from Example Media, who has blocked it "
     "in your country on copyright grounds", {}, "geo_blocked", "long"),
    ("14", "Video unavailable. This video contains content from Example Media, who has blocked it "
     "on copyright grounds", {}, "copyright", "long"),
    ("15", "The uploader has not made this video available in your country\nThis video is "
     "available in France, Germany.\nYou might want to use a VPN or a proxy server (with --proxy) "
     "to workaround.", {}, "geo_blocked", "long"),
    ("15", "Video unavailable. This video is not available in your country", {},
     "geo_blocked", "long"),
    ("15", "This video is not available on this country domain", {}, "geo_blocked", "long"),
    ("15a", "Unavailable For Legal Reasons", {"status": 451}, "geo_blocked", "long"),
    ("15b", "This video is not available from your location due to geo restriction", {},
     "geo_blocked", "long"),
    ("15c", "This video is available in Canada.", {}, "geo_blocked", "long"),
    ("16", f"Sign in to confirm your age. This video may be inappropriate for some users. {LOGIN}",
     {}, "age_restricted", "long"),
    ("16", "This video is age-restricted and only available on YouTube", {},
     "age_restricted", "long"),
    ("16a", f"This video is only available for registered users. {LOGIN}", {},
     "login_required", "long"),
    ("16a", f"Login details are needed to download this content. {LOGIN}", {},
     "login_required", "long"),
    ("16b", "HTTP Error 401: Unauthorized", {"status": 401}, "login_required", "long"),
    ("16c", f"Please sign in. {LOGIN}", {}, "login_required", "long"),
    ("17", "Join this channel to get access to members-only content like this video, and other "
     "exclusive perks.", {}, "members_only", "permanent"),
    ("17", "This video is available to this channel’s members on level: Friends (or any higher "
     "level). Join this channel to get access to members‑only content", {},
     "members_only", "permanent"),
    ("18", "This video requires payment to watch", {}, "paid", "permanent"),
    ("18", "This video is only available to Music Premium members", {}, "paid", "permanent"),
    ("18a", "HTTP Error 402: Payment Required", {}, "paid", "permanent"),
    ("19", "Premieres in 21 hours", {}, "not_yet", "transient"),
    ("19", "This live event will begin in a few moments.", {}, "not_yet", "transient"),
    ("20", "This live stream recording is not available.", {}, "removed", "long"),
    ("20", "This live event has ended.", {}, "removed", "long"),
    ("21", "live_status: is_live", {}, "live", "transient"),
    ("21", "live_status: post_live", {}, "live", "transient"),
    ("22", "This video is DRM protected", {}, "drm", "permanent"),
    ("23", "The following content is not available on this app. Watch on the latest version of "
     "YouTube.", {}, "client", "config"),
    ("23", "YouTube is no longer supported in this application or device", {}, "client", "config"),
    ("24", NO_FORMAT, {"warnings": ("[youtube] No supported JavaScript runtime could be found. "
     "Only deno is enabled by default; to use another runtime add  --js-runtimes RUNTIME[:PATH]  "
     "to your command/config.",)}, "config", "config"),
    ("25", NO_FORMAT, {"warnings": (f"[youtube] dQw4w9WgXcQ: n{SOLVER}",)}, "config", "config"),
    ("25", NO_FORMAT, {"warnings": ("[youtube] dQw4w9WgXcQ: Signature solving failed: Some formats "
     "may be missing.",)}, "config", "config"),
    ("26", NO_FORMAT, {"warnings": ("[youtube] dQw4w9WgXcQ: web client https formats require a GVS "
     "PO Token which was not provided. They will be skipped as they may yield HTTP Error 403.",)},
     "client", "config"),
    ("26", NO_FORMAT, {"warnings": ("[youtube] dQw4w9WgXcQ: Some mweb client https formats have "
     "been skipped as they are missing a URL. YouTube may have enabled the SABR-only streaming "
     "experiment for the current session.",)}, "client", "config"),
    ("27", NO_FORMAT, {}, "no_format", "long"),
    ("28", "No video formats found!; please report this issue on  https://github.com/yt-dlp/yt-dlp",
     {}, "no_format", "transient"),
    ("29", "unable to download video data: HTTP Error 403: Forbidden", {}, "media_403", "address"),
    ("29", "HTTP Error 403: Forbidden", {"status": 403, **MEDIA}, "media_403", "address"),
    ("29a", "HTTP Error 403: Forbidden", {"status": 403}, "forbidden", "address"),
    ("30", "The downloaded file is empty", MEDIA, "media_403", "address"),
    ("31", "Unable to download webpage: HTTP Error 404: Not Found", {"status": 404},
     "removed", "permanent"),
    ("31", "HTTP Error 410: Gone", {}, "removed", "permanent"),
    ("31a", "HTTP Error 404: Not Found", {"status": 404, **MEDIA}, "media_gone", "transient"),
    ("31a", "unable to download video data: HTTP Error 410: Gone", {}, "media_gone", "transient"),
    ("32", "HTTP Error 416: Requested range not satisfiable", MEDIA, "network", "transient"),
    ("32a", "Conflicting range. (start=300 > end=200)", MEDIA, "network", "transient"),
    ("33", "HTTP Error 503: Service Unavailable", {"status": 503}, "server_error", "transient"),
    ("33", "HTTP Error 500: Internal Server Error. Giving up after 3 retries", {},
     "server_error", "transient"),
    ("33a", "[download] Got error: bad line. Giving up after 10 retries", {},
     "server_error", "transient"),
    ("34", "content too short (expected 1000 bytes and served 10)", MEDIA,
     "truncated", "transient"),
    ("34", "5 bytes read, 95 more expected", MEDIA, "truncated", "transient"),
    ("34", "Did not get any data blocks", MEDIA, "truncated", "transient"),
    ("35", "Unable to download webpage: The read operation timed out", {}, "network", "transient"),
    ("35", "<urlopen error [Errno -3] Temporary failure in name resolution>", {},
     "network", "transient"),
    ("35", "[Errno 104] Connection reset by peer", MEDIA, "network", "transient"),
    ("35", "[Errno 101] Network is unreachable", {}, "network", "transient"),
    ("35", "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1006)", {},
     "network", "transient"),
    ("35a", "HTTP Error 408: Request Timeout", {}, "network", "transient"),
    ("36", "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer "
     "certificate (_ssl.c:1006)", {}, "config", "config"),
    ("36a", "HTTP Error 407: Proxy Authentication Required", {}, "config", "config"),
    ("37", "You have requested downloading the video partially, but ffmpeg is not installed. "
     "Aborting", {}, "config", "config"),
    ("37a", "ffmpeg exited with code 1", MEDIA, "corrupt", "transient"),
    ("38", "Incomplete YouTube ID dQw4. URL https://www.youtube.com/watch?v=dQw4 looks truncated.",
     {}, "bad_id", "permanent"),
    ("38", "'abc' is not a valid URL", {}, "bad_id", "permanent"),
    ("38", "Unsupported URL: https://example.org/page", {}, "bad_id", "permanent"),
    ("39", NO_FORMAT, {"warnings": ("[youtube] dQw4w9WgXcQ: Skipping player responses from web, tv "
     "clients (got player responses for video \"abc\" instead of \"dQw4w9WgXcQ\")",)},
     "bot_wall", "address"),
    ("40", "duration differs", {"warnings": ("[youtube] dQw4w9WgXcQ: Some web client https formats "
     "are possibly damaged. They will be deprioritized",)}, "damaged", "permanent"),
    ("41", "failed to load cookies", {}, "config", "config"),
    ("41", "Cookies file must be Netscape formatted, not JSON.", {}, "config", "config"),
    ("41a", "'cookies.txt' does not look like a Netscape format cookies file", {},
     "config", "config"),
    ("42", "Video unavailable", {}, "unavailable", "long"),
    ("42", "This video is unavailable", {}, "unavailable", "long"),
    ("42", "This video is not available", {}, "unavailable", "long"),
    ("42", "Video unavailable. Something that was never said before", {}, "unavailable", "long"),
    ("44", "content too short: the video ends after 3.00 s", MEDIA, "no_segment", "long"),
    ("45", "refused: 'a.example' is on a private address (10.0.0.1)", MEDIA, "refused", "long"),
    ("45", "refused: an address of the kind 'file', not http(s)", {}, "refused", "long"),
    ("45", "refused: redirects to another kind of address", {}, "refused", "long"),
    ("46", "too large: more than 500 MB were sent", MEDIA, "too_large", "long"),
    ("47", "no media container: Invalid data found", MEDIA, "corrupt", "transient"),
    ("47", "HTML instead of media", {"status": 200, **MEDIA}, "corrupt", "transient"),
    ("48", "no HTTP answer: BadStatusLine: x", MEDIA, "network", "transient"),
    ("49", "the media has no picture", MEDIA, "no_format", "long"),
    ("50", "a playlist and not a video", {}, "bad_id", "permanent"),
    ("51", "the server sends no ranges", MEDIA, "no_ranges", "long"),
    ("28a", "yt-dlp says nothing", {}, "no_format", "transient"),
    ("43", "The hamster is asleep", {}, "unknown", "transient"),
]  # fmt: skip
IDS = [f"{row}-{number}" for number, (row, *_) in enumerate(ANSWERS)]


def test_every_row_of_the_table_has_an_answer():
    rows = {row.row for row in (*table().statuses, *table().rows)}
    assert rows - {row for row, *_ in ANSWERS} == set()
    numbers = {int(re.match(r"\d+", row)[0]) for row, *_ in ANSWERS}
    assert numbers == set(range(1, 52))


def variants(text: str) -> list[str]:
    """The same answer as it may reach us."""
    return [
        text,
        f"ERROR: [youtube] dQw4w9WgXcQ: {text}",
        f"\x1b[0;31mERROR:\x1b[0m [youtube] dQw4w9WgXcQ: {text}",
        f"ERROR: {text}",
        text.upper(),
        text.replace("'", "’"),
        text.replace("’", "'"),
        text.replace(" ", "\u00a0 \n"),
        text + "; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues",
    ]


@pytest.mark.parametrize(("row", "text", "rest", "name", "kind"), ANSWERS, ids=IDS)
def test_answer(row, text, rest, name, kind):
    for variant in variants(text):
        fault = classify(FetchError(variant, **rest))
        assert (fault.name, fault.kind) == (name, kind), variant
        assert fault.advice


@pytest.mark.parametrize(("row", "text", "rest", "name", "kind"), ANSWERS, ids=IDS)
def test_what_is_kept_of_a_text_means_the_same(row, text, rest, name, kind):
    """The ledger's texts can be looked up again when the table has grown."""
    if len(text) <= RAW_CHARS:
        assert classify(FetchError(cleaned(text), **rest)).name == name


def test_a_text_in_the_middle_of_a_word_is_none():
    assert classify(FetchError("redesign inside")).name == "unknown"


def test_a_status_comes_before_every_text():
    fault = classify(FetchError("Private video", status=429, retry_after_s=17))
    assert (fault.name, fault.kind, fault.retry_after_s) == ("rate_limited", "address", 17)


def test_a_failed_request_says_more_than_that_there_is_no_answer():
    text = "Failed to extract any player response"
    warning = "[youtube] dQw4w9WgXcQ: Unable to download API page: {}"
    for said, name in [
        ("HTTP Error 429: Too Many Requests", "rate_limited"),
        ("The read operation timed out (caused by TransportError)", "network"),
        ("HTTP Error 404: Not Found", "extractor"),
    ]:
        assert classify(FetchError(text, warnings=("x", warning.format(said)))).name == name


def test_warnings_say_nothing_beside_a_plain_answer():
    warnings = ("No supported JavaScript runtime could be found.", f"n{SOLVER}")
    for text in ("Private video", "The read operation timed out", "This video is DRM protected"):
        assert classify(FetchError(text, warnings=warnings)).kind != "config"
    assert classify(FetchError("HTTP Error 403", warnings=warnings, **MEDIA)).name == "media_403"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("Premieres in 21 hours", 21 * 3600), ("Premieres in an hour", 3600),
     ("This live event will begin in 3 days.", 3 * 86400), ("Premieres in 9999 months", MAX_WAIT_S),
     ("Premieres shortly", 86400)],
)  # fmt: skip
def test_premieres_say_when(text, seconds):
    assert classify(FetchError(text)).retry_after_s == seconds


@given(st.floats())
def test_no_answer_makes_us_wait_for_ever(seconds):
    waited = classify(FetchError("", status=429, retry_after_s=seconds)).retry_after_s
    assert 0 <= waited <= MAX_WAIT_S


def test_which_faults_end_a_run():
    def stops(text, **rest):
        return classify(FetchError(text, **rest)).stops

    assert stops("The page needs to be reloaded.") and stops("failed to load cookies")
    assert stops(NO_FORMAT, warnings=("No supported JavaScript runtime could be found.",))
    assert not stops("The following content is not available on this app")
    assert not stops("Private video") and not stops("Sign in to confirm you're not a bot")


SECRET = "S3cr3tV4lue"
LEAKS = [
    f"HTTP Error 403 for https://rr1---sn.googlevideo.com/videoplayback?expire=17&sig={SECRET}&ip=1",
    f"see https://manifest.googlevideo.com/api/hls/sig/{SECRET}/file/index.m3u8",
    f"Unable to connect to proxy http://user:{SECRET}@proxy.example:8080",
    f"Authorization: Bearer {SECRET}",
    f"headers {{'Authorization': 'SAPISIDHASH 17_{SECRET}', 'X': 'y'}}",
    f"Cookie: SID={SECRET}; HSID=x",
    f"bad value __Secure-3PSID={SECRET}",
    f"skipping cookie file entry due to invalid length 5: '.youtube.com\\tTRUE\\t{SECRET}'",
    f"sig={SECRET}",
    f"videoplayback?x={SECRET}",
    f"po_token: web.gvs+{SECRET}",
]


@pytest.mark.parametrize("text", LEAKS)
def test_no_secret_is_kept(text):
    for variant in (text, text.upper(), text.replace("=", " = ")):
        assert SECRET.lower() not in cleaned(variant).lower()


@given(st.text(max_size=2000))
def test_what_is_kept_is_one_short_clean_line(text):
    kept = classify(FetchError(text)).raw
    assert len(kept) <= RAW_CHARS and kept.isprintable()
    normalise(text)


def test_colours_and_right_to_left_marks_are_dropped():
    assert cleaned("\x1b[1;31mred\x1b[0m \u202etxt\x00\x07\r\nnext") == "red txt next"


def test_the_table_knows_what_our_own_reader_says():
    unknown = [
        text for text in own_texts() if classify(FetchError(text, **MEDIA)).name == "unknown"
    ]
    assert not unknown and len(own_texts()) > 10


def own_texts() -> list[str]:
    """The literal texts of FetchErrors, and of errors that become one, with N for what varies."""
    texts: list[str] = []
    for path in Path(faults.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            if getattr(node.func, "id", "") not in ("FetchError", "Refused", "NoRanges", "TooSlow"):
                continue
            parts = getattr(node.args[0], "values", node.args[:1])
            text = "".join(str(p.value) if isinstance(p, ast.Constant) else "N" for p in parts)
            texts += [text] if text.strip("N") and text != "live_status: N" else []
    return texts


def test_yt_dlp_still_says_what_the_table_waits_for():
    """Fails with the list of texts that the installed yt-dlp does not have: the table has aged."""
    found = importlib.util.find_spec("yt_dlp")
    if found is None or found.origin is None:
        pytest.skip("yt-dlp is not installed")
    sources = "\n".join(
        path.read_text("utf-8", "replace")
        for folder in ("extractor/youtube", "extractor/common.py", "extractor/generic.py",
                       "downloader", "networking", "utils", "YoutubeDL.py", "cookies.py")
        for path in _python_files(Path(found.origin).parent / folder)
    )  # fmt: skip
    plain = normalise_source(sources)
    old = [text for row in table().rows if row.own for text in row.texts
           if normalise_source(text) not in plain]  # fmt: skip
    assert not old, f"not in the installed yt-dlp: {old}"


def _python_files(path: Path) -> list[Path]:
    return sorted(path.rglob("*.py")) if path.is_dir() else [path]


def normalise_source(text: str) -> str:
    """Lower case without quotes, escapes, braces' contents and breaks between string literals."""
    text = re.sub(r"\{[^{}\n]*\}", " ", text.casefold())
    return " ".join(re.sub(r"[\"'`\\]|\bf(?=['\"])", " ", text).split())
