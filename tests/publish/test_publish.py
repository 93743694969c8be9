"""``publish`` against servers on this machine: moto's S3, and the real client of the Hub."""

from __future__ import annotations

import hashlib
import json
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from typer.testing import CliRunner, Result

from nano4m_audio.cli.app import app
from nano4m_audio.errors import UserError
from nano4m_audio.lineage import record
from nano4m_audio.paths import Results
from nano4m_audio.publish import targets
from nano4m_audio.publish.files import Upload
from nano4m_audio.shards import set_shards
from nano4m_audio.tables import read_rows, write_rows
from tests.publish import hub as fake
from tests.tokens import write_tokens

#: What the client of the Hub itself calls in another way by now.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

SPLITS = {f"clip{i:02d}": ("train", "val", "test")[i % 3] for i in range(9)}
SECRET = "secretsecretsecret"
NAMES = [
    "README.md", "clips.html", "clips_media/0000/a.jpg", "clips_media/0000/a.mp3",
    "data/test-00000-of-00001.parquet", "data/train-00000-of-00001.parquet",
    "data/validation-00000-of-00001.parquet", "experiments.html", "report.html", "manifest.json",
]  # fmt: skip


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """A finished dataset, with stand-ins for the pages."""
    found = Results(tmp_path / "results")
    captions = {("caption", clip): {"tokens": [50258, 9246, 50259]} for clip in SPLITS}
    write_tokens(found.root, SPLITS, changed=captions)
    rows = [row | {"source": "x", "group": "g"} for row in read_rows(found.split, "split")]
    write_rows(found.split, "split", rows)
    set_shards(found.root, 2)
    for name in NAMES[1:4] + NAMES[7:9]:
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(f"the {name}")
    (found / "clips_media/0000.json").write_text("{}")  # of the workflow
    (found / "clips_media/.lock").write_text("")
    return found


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A client of an S3 on this machine, which has the bucket ``farm``."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "ENDPOINT_URL": f"http://{host}:{port}", "DEFAULT_REGION": "us-east-1",
        "ACCESS_KEY_ID": "ann",
        "SECRET_ACCESS_KEY": SECRET, "MAX_ATTEMPTS": "1", "EC2_METADATA_DISABLED": "true",
        "CONFIG_FILE": str(tmp_path / "no"), "SHARED_CREDENTIALS_FILE": str(tmp_path / "no"),
    }.items():  # fmt: skip
        monkeypatch.setenv(f"AWS_{name}", value)
    request = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
    urllib.request.urlopen(request).close()  # its servers share what they hold
    client = boto3.client("s3")
    client.create_bucket(Bucket="farm")
    yield client
    client.close()
    server.stop()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[fake.Hub]:
    """A Hub on this machine, for a client that is logged in."""
    from huggingface_hub import constants

    with fake.serve() as here:
        monkeypatch.setattr(constants, "ENDPOINT", here.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(
            constants, "HF_HUB_DISABLE_XET", True
        )  # a protocol with servers of its own
        monkeypatch.setenv("HF_TOKEN", fake.TOKEN)
        yield here


def call(results: Results, *arguments: str) -> Result:
    done = CliRunner().invoke(app, ["publish", str(results), *arguments])
    assert SECRET not in done.output and SECRET not in str(done.exception)
    assert sorted(path.name for path in results.root.glob(".publish*")) == []
    return done


def count(results: Results, *arguments: str) -> str:
    """How many files it says it sent."""
    done = call(results, *arguments)
    assert done.exit_code == 0, done.output
    return done.stdout.splitlines()[-1].partition(": ")[2].partition(" files")[0]


def error(results: Results, *arguments: str) -> str:
    done = call(results, *arguments)
    assert isinstance(done.exception, UserError), done.output
    assert "\n" not in str(done.exception) and "Signature" not in str(done.exception)
    return str(done.exception)


def check_manifest(there: dict[str, bytes]) -> None:
    rows = json.loads(there["manifest.json"])["files"]
    assert [row["path"] for row in rows] == NAMES[:-1]
    for row in rows:
        data = there[row["path"]]
        assert (row["size"], row["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def objects(s3: Any) -> dict[str, bytes]:
    listed = s3.list_objects_v2(Bucket="farm").get("Contents", [])
    keys = [row["Key"] for row in listed]
    return {key: s3.get_object(Bucket="farm", Key=key)["Body"].read() for key in keys}


def test_s3_gets_every_file_once(results: Results, s3: Any, tmp_path: Path) -> None:
    address = "s3://farm/of/ann/"
    dry = call(results, address, "--dry-run")
    assert dry.stdout.splitlines()[:-1] == NAMES and "10 of 10 files would be" in dry.output
    assert objects(s3) == {}
    assert count(results, address) == "10 of 10"
    there = {name.removeprefix("of/ann/"): data for name, data in objects(s3).items()}
    assert sorted(there) == sorted(NAMES)
    check_manifest(there)
    (tmp_path / "t.parquet").write_bytes(there["data/train-00000-of-00001.parquet"])
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 3
    assert s3.head_object(Bucket="farm", Key="of/ann/report.html")["ContentType"] == "text/html"
    assert count(results, address) == "0 of 10"
    # One is lost, one has other content of the same length, one is newer here.
    s3.delete_object(Bucket="farm", Key="of/ann/clips_media/0000/a.mp3")
    s3.put_object(Bucket="farm", Key="of/ann/clips.html", Body=b"THE clips.html")
    (results / "report.html").write_text("another report")
    changed = call(results, address, "--dry-run").stdout.splitlines()[:-1]
    assert changed == ["clips.html", "clips_media/0000/a.mp3", "report.html", "manifest.json"]
    assert count(results, address) == "4 of 10"
    check_manifest({name.removeprefix("of/ann/"): data for name, data in objects(s3).items()})


def test_clips_can_be_left_out(results: Results, s3: Any) -> None:
    assert count(results, "s3://farm", "--no-clips") == "7 of 7"
    assert sorted(objects(s3)) == sorted(n for n in NAMES if not n.startswith("clips"))


def test_s3_that_does_not_work_is_one_line(
    results: Results, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "there is no such bucket" in error(results, "s3://barn/x")
    with fake.serve() as other:  # who speaks no S3, and refuses
        monkeypatch.setenv("AWS_ENDPOINT_URL", other.url)
        assert "s3://farm refuses" in error(results, "s3://farm/x")
    assert "cannot be reached" in error(results, "s3://farm/x")  # it is gone
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "no credentials: set AWS_ACCESS_KEY_ID" in error(results, "s3://farm/x")


def test_the_manifest_is_the_last_to_come(
    results: Results, s3: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not whole has none; the same command goes on."""
    real = targets.S3._put

    def put(self: targets.S3, file: Upload) -> Upload:
        if file.name == "report.html":
            raise ConnectionResetError("reset")
        return real(self, file)

    monkeypatch.setattr(targets.S3, "_put", put)
    assert isinstance(call(results, "s3://farm").exception, ConnectionResetError)
    there = objects(s3)
    assert "manifest.json" not in there and len(there) == 8
    monkeypatch.setattr(targets.S3, "_put", real)
    assert count(results, "s3://farm") == "2 of 10"


def test_the_hub_gets_every_file_once(results: Results, hub: fake.Hub) -> None:
    address = "hf://datasets/ann/farm"
    assert call(results, address, "--dry-run").stdout.splitlines()[:-1] == NAMES
    assert not hub.exists
    assert count(results, address) == "10 of 10"
    assert hub.visibility == "private" and sorted(hub.files) == sorted(NAMES)
    check_manifest(hub.files)
    assert len(hub.large) == 3 and hub.commits[-1] == ["manifest.json"]
    before = len(hub.commits)
    assert count(results, address) == "0 of 10" and len(hub.commits) == before
    hub.files["clips.html"] = b"THE clips.html"
    hub.files["data/test-00000-of-00001.parquet"] = b"x"
    assert count(results, address) == "2 of 10"
    check_manifest(hub.files)


def test_a_publication_that_stops_goes_on(
    results: Results, hub: fake.Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(targets, "_COMMIT_FILES", 4)
    hub.failing = {1}
    assert "500" in error(results, "hf://datasets/ann/farm", "--public")
    assert hub.visibility == "public" and len(hub.files) == 4 and "manifest.json" not in hub.files
    assert count(results, "hf://datasets/ann/farm") == "6 of 10"
    check_manifest(hub.files)


def test_a_hub_that_does_not_work_is_one_line(
    results: Results, hub: fake.Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    address = "hf://datasets/ann/farm"
    monkeypatch.setenv("HF_TOKEN", f"hf_wrong{SECRET}")
    assert "refuses the token (401)" in error(results, address)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{unused.getsockname()[1]}")
        assert "cannot be reached" in error(results, address)
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    assert "no token: set HF_TOKEN" in error(results, address)


@pytest.mark.parametrize(
    "address", ["ftp://x/y", "s3://", "s3://A_B/x", "hf://ann/farm", "hf://datasets/ann", "farm"]
)
def test_other_addresses_are_refused(results: Results, address: str) -> None:
    assert "name s3://BUCKET/PREFIX or hf://datasets/USER/NAME" in error(results, address)


def test_a_run_that_is_not_finished_has_nothing_to_publish(results: Results, s3: Any) -> None:
    (results / "report.html").unlink()
    assert "finish the run first" in error(results, "s3://farm")


def test_pages_of_other_tables_are_not_published(results: Results, s3: Any) -> None:
    """A run that made new tables ended before its pages."""
    record(results.clips_page, [results.split])
    rows = read_rows(results.split, "split")
    write_rows(results.split, "split", rows[::-1])
    record(results.report, [results.split])
    count(results, "s3://farm/pages")
    listed = s3.list_objects_v2(Bucket="farm", Prefix="pages")["Contents"]
    left_out = {"clips.html", "clips_media/0000/a.jpg", "clips_media/0000/a.mp3"}
    assert {row["Key"].removeprefix("pages/") for row in listed} == set(NAMES) - left_out
    write_rows(results.split, "split", rows)
    assert "is not of the tables of now" in error(results, "s3://farm/pages")
