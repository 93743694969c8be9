"""Where publications go. Credentials are the libraries' own business (environment, config files,
log-in): none is read, kept or printed here."""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from nano4m_audio.errors import UserError
from nano4m_audio.publish.files import Upload

_S3 = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])(?:/(.*))?")
_HUB = re.compile(r"hf://datasets/([\w.-]+/[\w.-]+)/?")
_THREADS = 8
#: Files of one commit on the Hub.
_COMMIT_FILES = 100


class Target(Protocol):
    """A place for files. Everything raises UserError, in one line, for what does not work."""

    def prepare(self) -> None:
        """See that files can be put here."""

    def missing(self, files: Sequence[Upload]) -> list[Upload]:
        """Those that are not here yet, or with another content."""

    def put(self, files: Sequence[Upload]) -> Iterator[Upload]:
        """Upload files; each is yielded when it is there."""


def target_of(address: str, public: bool) -> Target:
    """The place that an address names. Raises UserError for any other."""
    if found := _S3.fullmatch(address):
        return S3(found[1], (found[2] or "").strip("/"))
    if found := _HUB.fullmatch(address):
        return Hub(found[1], public)
    raise UserError(f"{address}: name s3://BUCKET/PREFIX or hf://datasets/USER/NAME")


def one_line(error: BaseException) -> str:
    """What an error says, without the signatures of addresses that are signed."""
    return re.sub(r"\?[^\s'\"]+", "", " ".join(str(error).split()))[:500]


@dataclass(frozen=True)
class S3:
    """A bucket of S3, or of who speaks like it (AWS_ENDPOINT_URL). The digest of a file is in the
    metadata of its object."""

    bucket: str
    prefix: str

    @cached_property
    def _client(self) -> Any:
        try:
            import boto3
            from botocore.config import Config
        except ImportError:
            raise UserError("S3 needs the package boto3: `make s3`") from None
        return boto3.session.Session().client(
            "s3", config=Config(connect_timeout=10, max_pool_connections=_THREADS)
        )

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _explained(self) -> AbstractContextManager[None]:
        return _explained(_of_s3, f"s3://{self.bucket}")

    def prepare(self) -> None:
        with self._explained():
            self._client.list_objects_v2(Bucket=self.bucket, Prefix=self._key(""), MaxKeys=1)

    def missing(self, files: Sequence[Upload]) -> list[Upload]:
        with self._explained():
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._key("")
            )
            sizes = {row["Key"]: row["Size"] for page in pages for row in page.get("Contents", [])}
            like = [file for file in files if sizes.get(self._key(file.name)) == file.size]
            with ThreadPoolExecutor(_THREADS) as pool:
                digests = list(pool.map(self._digest, like))
        same = {
            file.name for file, known in zip(like, digests, strict=True) if known == file.sha256
        }
        return [file for file in files if file.name not in same]

    def _digest(self, file: Upload) -> str:
        head = self._client.head_object(Bucket=self.bucket, Key=self._key(file.name))
        return str(head["Metadata"].get("sha256", ""))

    def put(self, files: Sequence[Upload]) -> Iterator[Upload]:
        with self._explained(), ThreadPoolExecutor(_THREADS) as pool:
            try:
                yield from pool.map(self._put, files)
            finally:
                pool.shutdown(cancel_futures=True)

    def _put(self, file: Upload) -> Upload:
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        more = {"Metadata": {"sha256": file.sha256}, "ContentType": kind}
        self._client.upload_file(str(file.path), self.bucket, self._key(file.name), ExtraArgs=more)
        return file


@contextmanager
def _explained(one_line_of: Callable[[Exception, str], str | None], where: str) -> Iterator[None]:
    """Errors of a service at ``where`` as one line; any other stays a fault of ours."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if (said := one_line_of(error, where)) is None:
            raise
        raise UserError(said) from error


def _of_s3(error: Exception, where: str) -> str | None:
    """One line about an error of boto3 at ``where``; None for any other."""
    from boto3.exceptions import Boto3Error
    from botocore import exceptions as known

    if isinstance(error, known.NoCredentialsError | known.PartialCredentialsError):
        return (
            f"{where}: no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
            "AWS_PROFILE, as for the aws command"
        )
    if isinstance(error, known.EndpointConnectionError | known.HTTPClientError):
        return f"{where} cannot be reached ({one_line(error)}): what is there already is kept"
    if isinstance(error, known.ClientError):
        code = error.response.get("Error", {}).get("Code", "")
        if code in ("NoSuchBucket", "404"):
            return f"{where}: there is no such bucket: create it first"
        return f"{where} refuses ({one_line(error)}): see to its credentials and permissions"
    if isinstance(error, known.BotoCoreError | Boto3Error):
        return f"{where}: {one_line(error)}"
    return None


@dataclass(frozen=True)
class Hub:
    """A dataset of the Hugging Face Hub, or of who speaks like it (HF_ENDPOINT)."""

    name: str
    public: bool

    @cached_property
    def _api(self) -> Any:
        from huggingface_hub import HfApi

        return HfApi(library_name="nano4m-audio")

    def _explained(self) -> AbstractContextManager[None]:
        return _explained(_of_hub, f"hf://datasets/{self.name}")

    def prepare(self) -> None:
        """A dataset that is not there is made, private unless asked for otherwise."""
        from huggingface_hub import get_token

        if get_token() is None:
            raise UserError(
                f"hf://datasets/{self.name}: no token: set HF_TOKEN, or log in with `hf auth login`"
            )
        with self._explained():
            self._api.create_repo(
                self.name, repo_type="dataset", exist_ok=True, private=not self.public
            )

    def missing(self, files: Sequence[Upload]) -> list[Upload]:
        from huggingface_hub.errors import RepositoryNotFoundError

        with self._explained():
            try:
                tree = self._api.list_repo_tree(self.name, recursive=True, repo_type="dataset")
                there = {entry.path: entry for entry in tree if hasattr(entry, "blob_id")}
            except RepositoryNotFoundError:
                there = {}
        return [file for file in files if not _same(file, there.get(file.name))]

    def put(self, files: Sequence[Upload]) -> Iterator[Upload]:
        from huggingface_hub import CommitOperationAdd

        for start in range(0, len(files), _COMMIT_FILES):
            some = files[start : start + _COMMIT_FILES]
            with self._explained(), _quiet():
                self._api.create_commit(
                    self.name,
                    [CommitOperationAdd(file.name, str(file.path)) for file in some],
                    repo_type="dataset",
                    commit_message=f"Add {some[0].name}"
                    + f" and {len(some) - 1} more" * (len(some) > 1),
                )
            yield from some


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the client's own bars, which would be drawn across ours."""
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _same(file: Upload, there: Any) -> bool:
    """Whether a file of the Hub has the content of ours."""
    if there is None or there.size != file.size:
        return False
    return bool(there.lfs.sha256 == file.sha256 if there.lfs else there.blob_id == file.git_id)


def _of_hub(error: Exception, where: str) -> str | None:
    """One line about an error of huggingface_hub at ``where``; None for any other."""
    from huggingface_hub import errors as known

    if isinstance(error, known.OfflineModeIsEnabled):
        return f"{where}: offline mode is on (HF_HUB_OFFLINE)"
    if isinstance(error, known.LocalTokenNotFoundError):
        return f"{where}: no token: set HF_TOKEN, or log in with `hf auth login`"
    if isinstance(error, known.HfHubHTTPError):
        status = error.response.status_code if error.response is not None else 0
        if status in (401, 403):
            return f"{where} refuses the token ({status}): it needs write access to this dataset"
        return f"{where}: {one_line(error)}"
    if isinstance(error, known.HTTPError | OSError):
        return f"{where} cannot be reached ({one_line(error)}): what is there already is kept"
    if isinstance(error, RuntimeError | ValueError):  # of a file that could not be uploaded
        cause = f" ({one_line(error.__cause__)})" if error.__cause__ else ""
        return f"{where}: {one_line(error)}{cause}: what is there already is kept"
    return None
