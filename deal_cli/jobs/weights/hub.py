"""One file of a model repository of the Hugging Face Hub, at one commit, in the Hub's own cache.

What the Hub's library says may name what was sent, the token among it; so it is kept silent, and
every failure is told in words of this program.
"""

from __future__ import annotations

import io
import logging
import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from deal_cli.errors import DealError, OutputError, UsageError, WeightsError

#: What the library does beside fetching a file: bars on stderr, telling the Hub who asks, and
#: downloads by another program's protocol, which nothing here can interrupt.
LEFT_OUT = {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_XET": "1",
}

LATER = "try again later"
READABLE = "put a token that may read it into HF_TOKEN"
CONNECTION = "check the connection, and the HF_ and proxy variables where any are set"


@dataclass(frozen=True)
class HubFile:
    """A file of a model repository.

    Attributes:
        repo: OWNER/NAME.
        revision: the whole commit: 40 hex digits in lower case.
        name: of the file.
    """

    repo: str
    revision: str
    name: str

    def __str__(self) -> str:
        return f"{self.repo}/{self.name}"


def fetch(file: HubFile, most: int) -> Path:
    """Where the file lies in the cache; the Hub is asked only for what is not there yet.

    Args:
        file: what to fetch.
        most: bytes that it may have.

    Raises:
        UsageError: the Hub takes no such name of a repository; HF_TOKEN holds no token.
        WeightsError: it is not there, not for everyone or too large; the Hub cannot be reached.
        OutputError: the cache cannot be written.
    """
    with _library(file, "the Hub cannot be asked"):
        from huggingface_hub import get_hf_file_metadata, hf_hub_url, try_to_load_from_cache

        cached = try_to_load_from_cache(file.repo, file.name, revision=file.revision)
        if isinstance(cached, str):
            return Path(cached).absolute()
        url = hf_hub_url(file.repo, file.name, revision=file.revision)
        found = get_hf_file_metadata(url, token=_token())
    if found.commit_hash != file.revision or found.size is None:
        cause = f"the Hub does not say how large it is at commit {file.revision}"
        raise WeightsError(cause, file=str(file), remedy=CONNECTION)
    if found.size > most:
        raise WeightsError(
            f"is {found.size / 2**20:.0f} MiB, more than the {most / 2**20:.0f} MiB that weights"
            " of this program may have",
            file=str(file),
            remedy="pull a file that `deal train` wrote",
        )
    with _library(file, "the download broke off", writes=True):
        from huggingface_hub import hf_hub_download

        path = hf_hub_download(file.repo, file.name, revision=file.revision, token=_token())
    return Path(path).absolute()


def stated_checksum(path: Path) -> str | None:
    """The SHA-256 that the Hub stated for a file in the cache; None where it stated none.

    The cache names the contents of large files by it, and links to them.
    """
    try:
        name = path.readlink().name
    except OSError:
        return None
    return name if re.fullmatch("[0-9a-f]{64}", name) else None


def _token() -> str | Literal[False]:
    """The token in HF_TOKEN; one that is kept elsewhere is left alone.

    Raises:
        UsageError: it could not be sent.
    """
    token = os.environ.get("HF_TOKEN", "").strip()
    if token and not re.fullmatch("[!-~]+", token):
        remedy = "put a token into it, or unset it"
        raise UsageError("HF_TOKEN holds what no token does", remedy=remedy)
    return token or False


@contextmanager
def _library(file: HubFile, failure: str, *, writes: bool = False) -> Iterator[None]:
    """The Hub's library at work: silent, whatever its variables ask for, its errors told anew.

    Args:
        file: what is fetched.
        failure: what an error means that is neither the Hub's answer nor a matter of this machine.
        writes: whether the cache is written.
    """
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    os.environ.update(LEFT_OUT)  # read when the library is imported
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    except DealError:
        raise
    except Exception as error:
        raise _told(error, file, failure, writes=writes) from None
    finally:
        logging.disable(disabled)


def _told(error: Exception, file: HubFile, failure: str, *, writes: bool) -> DealError:
    """An error of the library in words of this program."""
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        error = error.__cause__
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        cause, remedy = _answered(error, status, file)
        return WeightsError(f"{cause} (HTTP {status})", file=str(file), remedy=remedy)
    if isinstance(error, errors.HFValidationError):
        return UsageError(f"'{file.repo}' is no repository", remedy="--repo takes OWNER/NAME")
    if isinstance(error, errors.OfflineModeIsEnabled):
        cause = "is not in the cache, and HF_HUB_OFFLINE is set"
        return WeightsError(cause, file=str(file), remedy="unset it, and pull it once")
    reason = error.strerror if isinstance(error, OSError) else type(error).__name__
    if reason and writes and isinstance(error, OSError):
        remedy = "see that HF_HOME is a folder of yours with room in it"
        return OutputError(f"cannot be kept ({reason})", file=str(file), remedy=remedy)
    cause = f"{failure} ({reason})" if reason else failure
    return WeightsError(cause, file=str(file), remedy=CONNECTION)


def _answered(error: Exception, status: int, file: HubFile) -> tuple[str, str]:
    """Cause and remedy of an answer that is a refusal."""
    from huggingface_hub import errors

    match error:
        case errors.GatedRepoError():
            ask = "ask for it on the repository's page"
            return "its owner has to grant access", f"{ask}, and {READABLE}"
        case errors.DisabledRepoError():
            return "its repository is disabled", "choose another"
        case errors.RevisionNotFoundError():
            return f"its repository has no commit {file.revision}", "check --revision"
        case errors.EntryNotFoundError():
            return f"is not in the repository at commit {file.revision}", "check NAME"
    if status in (401, 403):
        whom = "not for the token in HF_TOKEN" if _token() else "not for everyone"
        return f"is not there, or {whom}", f"check --repo, and {READABLE}"
    if status == 404:
        return "the Hub has no such repository", f"check --repo; where it is private, {READABLE}"
    if status == 429:
        return "the Hub was asked too often", LATER
    return ("the Hub has failed", LATER) if status >= 500 else ("the Hub refuses it", CONNECTION)
