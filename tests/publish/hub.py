"""As much of the Hugging Face Hub as its client asks for in order to upload a dataset."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_secretsecretsecret"


@dataclass
class Hub:
    """What the server holds: files of the dataset, large objects, and what it was asked."""

    exists: bool = False
    visibility: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)
    commits: list[list[str]] = field(default_factory=list)
    failing: set[int] = field(default_factory=set)
    seen: list[str] = field(default_factory=list)
    url: str = ""


@contextmanager
def serve() -> Iterator[Hub]:
    """A server on the loopback address until the block is left."""
    hub = Hub()

    class Handler(_Handler):
        here = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    here: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: Any) -> None:
        self.here.seen.append(format % arguments)

    def _answer(self, value: Any, status: int = 200, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _known(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid credentials"}, 401)
        return False

    def do_GET(self) -> None:
        if not self._known():
            return
        if not self.here.exists:
            self._answer({"error": "not found"}, 404, X_Error_Code="RepoNotFound")
            return
        assert self.path.startswith("/api/datasets/ann/farm/tree/main?recursive=")
        rows = []
        for name, data in self.here.files.items():
            git = hashlib.sha1(f"blob {len(data)}\0".encode() + data).hexdigest()
            row = {"type": "file", "path": name, "size": len(data), "oid": git}
            if name.endswith(".parquet"):
                large = {"size": len(data), "oid": hashlib.sha256(data).hexdigest()}
                row |= {"oid": "0" * 40, "lfs": {**large, "pointerSize": 130}}
            rows.append(row)
        self._answer([*rows, {"type": "directory", "path": "data", "oid": "1" * 40}])

    def do_PUT(self) -> None:
        data = self._body()
        oid = hashlib.sha256(data).hexdigest()
        assert self.path == f"/large/{oid}?X-Amz-Signature=signed"
        self.here.large[oid] = data
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if not self._known():
            return
        if self.path == "/api/repos/create":
            values = json.loads(body)
            assert (values["organization"], values["name"], values["type"]) == (
                "ann",
                "farm",
                "dataset",
            )
            status = 409 if self.here.exists else 200
            self.here.visibility = self.here.visibility or values.get("visibility", "")
            self.here.exists = True
            self._answer({"url": f"{self.here.url}/datasets/ann/farm"}, status)
        elif self.path == "/api/validate-yaml":
            self._answer({"errors": [], "warnings": []})
        elif self.path == "/api/datasets/ann/farm/preupload/main":
            files = [
                {
                    "path": file["path"],
                    "uploadMode": "lfs" if file["path"].endswith(".parquet") else "regular",
                    "shouldIgnore": False,
                }
                for file in json.loads(body)["files"]
            ]
            self._answer({"files": files})
        elif self.path == "/datasets/ann/farm.git/info/lfs/objects/batch":
            objects = []
            for one in json.loads(body)["objects"]:
                href = f"{self.here.url}/large/{one['oid']}?X-Amz-Signature=signed"
                there = one["oid"] in self.here.large
                objects.append(one if there else {**one, "actions": {"upload": {"href": href}}})
            self._answer({"transfer": "basic", "objects": objects})
        else:
            assert re.fullmatch("/api/datasets/ann/farm/commit/main", self.path)
            self._commit([json.loads(line) for line in body.splitlines()])

    def _commit(self, lines: list[dict[str, Any]]) -> None:
        number = len(self.here.commits)
        self.here.commits.append([])
        if number in self.here.failing:
            self._answer({"error": "full, see http://x/y?X-Amz-Signature=signed"}, 500)
            return
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.here.files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.here.files[value["path"]] = self.here.large[value["oid"]]
            else:
                continue
            self.here.commits[number].append(value["path"])
        url = f"{self.here.url}/datasets/ann/farm/commit/{number:040d}"
        self._answer({"commitUrl": url, "commitOid": f"{number:040d}", "pullRequestUrl": None})
