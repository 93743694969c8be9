"""The weights list, the cache, the lock file, and what is refused."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import save_file

from nano4m_audio.backends import download as download_module
from nano4m_audio.backends import registry, weights
from nano4m_audio.backends.checkpoints import read_safetensors, read_torch
from nano4m_audio.cli.app import main
from nano4m_audio.errors import UserError
from tests.backends import web
from tests.conftest import ROOT

DATA = b"weights" * 1000
SHA256 = hashlib.sha256(DATA).hexdigest()
OTHER = b"WEIGHTS" * 1000


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache; ``cache(file, ...)`` puts an entry "net" with these files into its list."""
    folder = tmp_path / "cache"
    folder.mkdir()
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(folder))
    for name in ("NANO4M_AUDIO_OFFLINE", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)

    def with_files(*files: Any) -> Any:
        (folder / "weights.yaml").write_text(yaml.safe_dump({"net": {"files": list(files)}}))
        return weights.get_weights("net").files

    function: Any = with_files
    function.folder = folder
    return function


def place(cache, name, data=DATA):
    path = cache.folder / "weights" / "net" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@pytest.fixture
def call(monkeypatch, capsys):
    """Run ``nano4m-audio weights ...`` in this process: exit status, stdout, stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["nano4m-audio", "weights", *arguments])
        with pytest.raises(SystemExit) as done:
            main()
        return SimpleNamespace(status=done.value.code, **capsys.readouterr()._asdict())

    return run


def test_the_list_is_well_formed(cache):
    for entry in weights.all_weights().values():
        assert entry.made_by and entry.licence and entry.note and entry.files
        for file in entry.files:
            assert all(url.startswith("https://") for url in file.urls)
            assert file.sha256 is None or len(bytes.fromhex(file.sha256)) == 32


def test_every_backend_names_known_weights():
    for kind, specs in registry.REGISTRY.items():
        for name, spec in specs.items():
            assert not spec.weights or weights.get_weights(spec.weights)
            assert registry.identity(kind, name).startswith(f"{name}:")


def test_missing_files_are_named_with_their_place(cache):
    cache({"name": "a.bin", "urls": ["https://example.org/a.bin"], "size_bytes": 7_000_000})
    place_of_a = cache.folder / "weights" / "net" / "a.bin"
    with pytest.raises(UserError) as error:
        weights.folder("net")
    for part in ("weights fetch net", str(place_of_a), "7.0 MB", "https://example.org/a.bin"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_published_hash_decides(cache):
    cache({"name": "a.bin", "sha256": SHA256})
    before = weights.identity("net")
    path = place(cache, "a.bin")
    assert weights.folder("net") == path.parent
    assert weights.identity("net") == before
    place(cache, "a.bin", OTHER)
    with pytest.raises(UserError, match="is refused: its SHA-256"):
        weights.folder("net")
    assert weights.identity("net") == before


def test_an_unpublished_hash_is_the_one_seen_first(cache):
    cache({"name": "a.bin"})
    unknown = weights.identity("net")
    assert weights.identity("net") == unknown
    path = place(cache, "a.bin")
    known = weights.identity("net")
    assert known != unknown
    assert weights.folder("net") == path.parent and weights.identity("net") == known
    place(cache, "a.bin", OTHER)
    with pytest.raises(UserError, match="is refused"):
        weights.folder("net")
    assert weights.identity("net") == known


def test_a_verified_file_is_not_hashed_again(cache, monkeypatch):
    cache({"name": "a.bin", "sha256": SHA256})
    path = place(cache, "a.bin")
    weights.folder("net")
    monkeypatch.setattr(weights, "sha256", lambda path: pytest.fail("hashed again"))
    weights.folder("net")
    monkeypatch.undo()
    monkeypatch.setenv("NANO4M_AUDIO_CACHE", str(cache.folder))
    stat = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    with pytest.raises(UserError, match="is refused"):
        weights.folder("net")


def test_a_file_of_equal_size_and_time_is_another(cache):
    cache({"name": "a.bin", "sha256": SHA256})
    path = place(cache, "a.bin")
    weights.folder("net")
    stat, other = path.stat(), path.read_bytes()[::-1]
    path.write_bytes(other)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (stat.st_size, stat.st_mtime_ns)
    with pytest.raises(UserError, match="is refused: its SHA-256"):
        weights.folder("net")


def test_fetch_verifies_records_and_does_nothing_twice(cache):
    with web.serving({"/a": web.whole(DATA)}) as server:
        (file,) = cache({"name": "a.bin", "urls": [f"{server.url}/a"]})
        assert weights.fetch("net", file) is True
        assert weights.fetch("net", file) is False
        assert len(server.seen) == 1
    assert weights.folder("net").joinpath("a.bin").read_bytes() == DATA
    assert SHA256 in (cache.folder / "weights.lock.json").read_text()


def test_a_file_that_is_not_the_one_seen_first_is_refused(cache):
    with web.serving({"/a": web.whole(DATA)}) as server:
        (file,) = cache({"name": "a.bin", "urls": [f"{server.url}/a"]})
        weights.fetch("net", file)
        weights.path_of("net", file).unlink()
        server.answers["/a"] = web.whole(OTHER)
        with pytest.raises(UserError, match=r"seen first and is kept in .*weights.lock.json"):
            weights.fetch("net", file)
    assert not weights.path_of("net", file).exists()


def test_whoever_fetches_names_the_commit_where_the_list_pins_none(cache):
    commit = "0123456789" * 4
    with web.serving({f"/net/resolve/{commit}/a": web.whole(DATA)}) as server:
        url = f"{server.url}/net/resolve/{weights.REVISION}/a"
        (file,) = cache({"name": "a.bin", "urls": [url]})
        for wrong in (None, "main", commit[1:]):
            with pytest.raises(weights.NotFetched, match=r"/net/commits/main and name it, --rev"):
                weights.fetch("net", file, revision=wrong)
        assert server.seen == []
        assert weights.fetch("net", file, revision=commit) is True
    assert weights.folder("net").joinpath("a.bin").read_bytes() == DATA
    assert all(weights.REVISION in f.urls[0] for f in weights.get_weights("net").files)


def test_a_damaged_file_is_fetched_again(cache):
    with web.serving({"/a": web.whole(DATA)}) as server:
        (file,) = cache({"name": "a.bin", "urls": [f"{server.url}/a"], "sha256": SHA256})
        place(cache, "a.bin", DATA[:100])
        assert weights.fetch("net", file) is True
    assert weights.folder("net")


@pytest.mark.parametrize("variable", ["NANO4M_AUDIO_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_nothing_is_asked_and_the_place_is_named(cache, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    with web.serving({"/a": web.whole(DATA)}) as server:
        (file,) = cache({"name": "a.bin", "urls": [f"{server.url}/a"], "sha256": SHA256})
        with pytest.raises(UserError, match="offline mode is on") as error:
            weights.fetch("net", file)
        assert server.seen == []
    assert str(weights.path_of("net", file)) in str(error.value)
    place(cache, "a.bin")
    assert weights.fetch("net", file) is False


def test_a_read_only_cache_works(cache):
    cache({"name": "a.bin"})
    place(cache, "a.bin")
    code = (
        "from nano4m_audio.backends import weights as w; print(w.folder('net'), w.identity('net'))"
    )
    command = [sys.executable, "-c", code]
    unshare = ["setpriv", "--reuid=65534", "--clear-groups"] if os.geteuid() == 0 else []
    for path in [*cache.folder.rglob("*"), *cache.folder.parents][:-1]:
        os.chmod(path, path.stat().st_mode | 0o055 if path.is_dir() else 0o644)
    cache.folder.chmod(0o555)
    try:
        done = subprocess.run([*unshare, *command], capture_output=True, text=True, check=False)
    finally:
        cache.folder.chmod(0o755)
    if unshare and "setpriv" in done.stderr:
        pytest.skip("cannot become another user here")
    assert done.returncode == 0, done.stderr
    assert not (cache.folder / "weights.lock.json").exists()


def test_the_commands(cache, call, tmp_path):
    with web.serving({"/a": web.whole(DATA)}) as server:
        cache(
            {"name": "a.bin", "urls": [f"{server.url}/a"], "sha256": SHA256, "size_bytes": 7000},
            {"name": "b.bin"},
        )
        fetched = call("fetch", "net")
    assert fetched.status == 1 and "net/a.bin: fetched" in fetched.err
    assert "no public address is known" in fetched.err and "Traceback" not in fetched.err
    assert "1 of 2" in next(s for s in call("list").out.splitlines() if s.startswith("net "))

    mine = tmp_path / "b.bin"
    mine.write_bytes(OTHER)
    assert call("add", "net", str(mine)).out.strip().endswith("weights/net/b.bin")
    assert weights.folder("net")
    assert call("verify").out == "net/a.bin: ok\nnet/b.bin: ok\n"
    assert call("verify", "net").status == 0

    path = weights.folder("net") / "a.bin"
    stat = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # only a full look can tell
    verified = call("verify")
    assert verified.status == 1 and "net/a.bin: SHA-256" in verified.out
    mine.write_bytes(DATA)
    assert "is refused" in call("add", "net", str(mine)).err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "nothing to fetch"),
        (["fetch", "dsne"], "did you mean 'dsine'"),
        (["fetch", "--config", "nowhere.yaml"], "no such config file"),
        (["add", "yamnet", "nowhere/x.bin"], "have no file of this name"),
        (["add", "yamnet", "nowhere/yamnet.tflite"], "no such file"),
        (["verify", "yamnet"], "2 file(s) are not what they should be"),
    ],
)
def test_errors_are_one_line(cache, call, arguments, message):
    done = call(*arguments)
    assert done.status == 1 and message in done.err and done.err.count("\n") == 1


def test_without_a_network_fetch_says_within_seconds_where_files_belong(cache, call):
    addresses = [f"https://host{i}.invalid/a{i}.bin" for i in range(8)]
    cache(*({"name": f"a{i}.bin", "urls": [url]} for i, url in enumerate(addresses)))
    started = time.monotonic()
    done = call("fetch", "net")
    assert time.monotonic() - started < 12
    assert done.status == 1 and "no network: cannot reach host0.invalid (" in done.err
    assert "nano4m-audio weights fetch net" in done.err
    assert "nano4m-audio weights add ID FILES" in done.err
    for i, url in enumerate(addresses):
        assert f"{cache.folder}/weights/net/a{i}.bin (size unknown) from {url}" in done.err


def test_a_dead_mirror_is_passed_over_and_a_flaky_one_asked_again(cache, call, monkeypatch):
    monkeypatch.setattr(download_module, "BACKOFF_S", (0.0, 0.01))
    flaky = web.in_turn(web.status(503), web.broken_off(DATA, 100, web.whole(DATA)))
    with web.serving({"/a": flaky}) as server:
        urls = ["https://host.invalid/a", f"{server.url}/a"]
        cache({"name": "a.bin", "urls": urls, "sha256": SHA256})
        done = call("fetch", "net")
        assert done.status == 0 and "net/a.bin: fetched" in done.err
        assert len(server.seen) == 3


def test_a_file_without_a_listed_size_has_a_limit(cache, call):
    with web.serving({"/a": web.whole(DATA)}) as server:
        entry = {"name": "a.bin", "urls": [f"{server.url}/a"]}
        (file,) = cache({**entry, "max_bytes": 6999})
        with pytest.raises(UserError, match="more than the 7.0 kB allowed"):
            weights.fetch("net", file)
        cache({**entry, "about_bytes": 6000})
        assert call("fetch", "net").status == 0


def test_no_listed_file_is_without_a_limit(cache):
    for entry in weights.all_weights().values():
        for file in entry.files:
            assert 0 < (file.size_bytes or file.max_bytes) <= 4_000_000_000
            assert not file.about_bytes or file.about_bytes < file.max_bytes < 3_000_000_000


def test_sizes_are_true_estimated_or_unknown_and_never_nothing(cache, call):
    cache(
        {"name": "config.json", "size_bytes": 582},
        {"name": "a.bin", "about_bytes": 1_150_000_000},
    )
    line = next(s for s in call("list").out.splitlines() if s.startswith("net "))
    assert "about 1.15 GB" in line
    cache({"name": "config.json", "size_bytes": 582}, {"name": "a.bin"})
    os.utime(cache.folder / "weights.yaml", ns=(1, 1))
    listed = call("list", "net").out
    assert "582 bytes and 1 of unknown size" in listed and "unknown until" in listed
    cache({"name": "a.bin"})
    os.utime(cache.folder / "weights.yaml", ns=(2, 2))
    assert "missing         unknown" in call("list", "net").out
    place(cache, "a.bin")
    assert "here             7.0 kB" in call("list", "net").out
    assert not re.search(r"(?<!\d)0\.0", call("list").out)


def test_the_size_of_a_config_is_summed(cache, call):
    shown = call("list", "--config", str(ROOT / "configs/yamnet.yaml")).out
    assert "all: 4.0 MB; not here yet: 4.0 MB" in shown and "panns" not in shown
    assert (
        "not here yet: about 4.97 GB"
        in call("list", "--config", str(ROOT / "configs/paper.yaml")).out
    )


def test_add_takes_what_matches_and_names_what_does_not(cache, call, tmp_path):
    cache({"name": "a.bin", "sha256": SHA256}, {"name": "b.bin", "sha256": SHA256}, {"name": "c"})
    given = {"x.bin": DATA, "a.bin": DATA, "b.bin": OTHER}
    for name, data in given.items():
        (tmp_path / name).write_bytes(data)
    done = call("add", "net", *(str(tmp_path / name) for name in given), str(tmp_path / "c"))
    assert done.status == 1
    assert done.out == f"{cache.folder}/weights/net/a.bin\n"
    assert "still missing: b.bin, c" in done.err
    for part in (
        "x.bin: weights 'net' have no file of this name",
        "b.bin is refused",
        "c: no such",
    ):
        assert part in done.err
    assert (cache.folder / "weights/net/a.bin").read_bytes() == DATA
    again = call("add", "net", str(cache.folder / "weights/net/a.bin"))
    assert again.status == 0 and (cache.folder / "weights/net/a.bin").read_bytes() == DATA


def test_a_cache_that_cannot_be_written_is_one_line(cache, call, tmp_path):
    with web.serving({"/a": web.whole(DATA)}) as server:
        cache({"name": "a.bin", "urls": [f"{server.url}/a"]})
        (cache.folder / "weights").write_text("a file where a folder should be")
        mine = tmp_path / "a.bin"
        mine.write_bytes(DATA)
        for arguments in (["fetch", "net"], ["add", "net", str(mine)]):
            done = call(*arguments)
            assert done.status == 1 and "cannot be written (Not a directory)" in done.err
            assert done.err.count("\n") == 1


def test_a_wrong_entry_is_one_line(cache):
    for i, entry in enumerate(
        [
            {"name": "a", "urls": "https://example.org/a"},
            {"name": "a", "sha256": "abc"},
            {"name": "a", "size_bytes": "big"},
            {"name": "a", "max_bytes": -1},
            {"name": "../a"},
        ]
    ):
        (cache.folder / "weights.yaml").write_text(yaml.safe_dump({"net": {"files": [entry]}}))
        os.utime(cache.folder / "weights.yaml", ns=(i, i))
        with pytest.raises(UserError, match="not a list of weights") as error:
            weights.all_weights()
        assert "\n" not in str(error.value)


def test_a_wrong_list_is_one_line(cache):
    for text in ("net: {files: [{urls: []}]}", "net: {files: [{name: ../../x}]}", "net: [", "- 1"):
        (cache.folder / "weights.yaml").write_text(text)
        os.utime(cache.folder / "weights.yaml", ns=(hash(text) % 10**9, hash(text) % 10**9))
        with pytest.raises(UserError, match="not a list of weights"):
            weights.all_weights()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("net:\n  note: a\nnet:\n  note: b", "net is there twice (lines 1 and 3)"),
        ("net: {files: [{name: a, name: b}]}", "net.files.0.name is there twice"),
        ("[" * 5000, "nested too deeply"),
    ],
)
def test_what_a_list_says_twice_is_not_dropped(cache, text, message):
    path = cache.folder / "weights.yaml"
    path.write_text(text)
    os.utime(path, ns=(len(text), len(text)))
    with pytest.raises(UserError) as error:
        weights.all_weights()
    assert str(error.value).startswith(f"{path}: {message}") and "\n" not in str(error.value)


class Evil:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_in_a_checkpoint_is_never_run(tmp_path, zipped):
    trap, path = tmp_path / "it_ran", tmp_path / "evil.pth"
    checkpoint = {"model": {"w": torch.ones(3)}, "extra": Evil(trap)}
    torch.save(checkpoint, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match="is refused: it holds more than tensors") as error:
        read_torch(path)
    assert not trap.exists() and "\n" not in str(error.value)
    torch.load(path, weights_only=False)["extra"].close()
    assert trap.exists()  # the trap works where it is not refused


def test_tensors_and_plain_values_are_read(tmp_path):
    torch.save({"w": torch.arange(4), "step": 3}, tmp_path / "a.pth")
    assert read_torch(tmp_path / "a.pth")["w"].tolist() == [0, 1, 2, 3]
    save_file({"w": torch.arange(4)}, tmp_path / "a.safetensors")
    assert read_safetensors(tmp_path / "a.safetensors")["w"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("keep", [0, 10, 200, 0.5, 0.99])
def test_damaged_files_are_one_line(tmp_path, keep):
    torch.save({"w": torch.rand(1000)}, tmp_path / "a.pth")
    save_file({"w": torch.rand(1000)}, tmp_path / "a.safetensors")
    for name, read in (("a.pth", read_torch), ("a.safetensors", read_safetensors)):
        path = tmp_path / name
        data = path.read_bytes()
        path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
        with pytest.raises(UserError) as error:
            read(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
        with pytest.raises(UserError, match="no such file"):
            read(tmp_path / f"missing-{name}")
