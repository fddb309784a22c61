"""A file of the Hub is had once, and whatever keeps it away is told in words of this program."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from stand_in_hub import COMMIT, REPO, Answer, StandInHub

from deal_cli.errors import DealError, OutputError, UsageError, WeightsError
from deal_cli.jobs.weights.hub import HubFile, fetch, stated_checksum

FILE = HubFile(REPO, COMMIT, "a.safetensors")
MOST = 1000
DATA = bytes(range(200))
TOKEN = "hf_this_is_the_secret"


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)


def refusal(kind: type[DealError], file: HubFile = FILE) -> str:
    with pytest.raises(kind) as caught:
        fetch(file, MOST)
    assert caught.value.remedy
    assert TOKEN not in str(caught.value)
    return str(caught.value)


def test_a_file_is_asked_for_once(hub: StandInHub, hub_cache: Path) -> None:
    hub.offer(FILE.name, DATA)
    path = fetch(FILE, MOST)
    assert path.read_bytes() == DATA
    assert path.is_relative_to(hub_cache)
    before = len(hub.asked)
    assert fetch(FILE, MOST) == path
    assert len(hub.asked) == before


def test_another_commit_is_another_file(hub: StandInHub) -> None:
    hub.offer(FILE.name, DATA)
    fetch(FILE, MOST)
    hub.asked.clear()
    refusal(WeightsError, HubFile(REPO, "f" * 40, FILE.name))
    assert [request.method for request in hub.asked] == ["HEAD"]


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (401, None, "is not there, or not for the token in HF_TOKEN (HTTP 401); check --repo"),
        (401, "RepoNotFound", "is not there, or not for the token in HF_TOKEN (HTTP 401); check"),
        (403, None, "is not there, or not for the token in HF_TOKEN (HTTP 403); check --repo"),
        (403, "GatedRepo", "its owner has to grant access (HTTP 403); ask for it on the"),
        (404, None, "the Hub has no such repository (HTTP 404); check --repo"),
        (404, "RepoNotFound", "the Hub has no such repository (HTTP 404); check --repo"),
        (404, "RevisionNotFound", f"has no commit {COMMIT} (HTTP 404); check --revision"),
        (404, "EntryNotFound", f"not in the repository at commit {COMMIT} (HTTP 404); check NAME"),
        (418, None, "the Hub refuses it (HTTP 418); check the connection"),
        (429, None, "the Hub was asked too often (HTTP 429); try again later"),
        (503, None, "the Hub has failed (HTTP 503); try again later"),
    ],
)
def test_a_refusal_of_the_hub_says_what_mends_it(
    status: int, code: str | None, told: str, hub: StandInHub
) -> None:
    hub.offer(FILE.name, status=status, headers={"X-Error-Code": code} if code else {})
    error = refusal(WeightsError)
    assert error.startswith(f"{REPO}/{FILE.name}: ")
    assert told in error
    assert hub.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert {request.method for request in hub.asked} == {"HEAD"}


def test_a_repository_that_was_disabled_is_told(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "")
    hub.offer(FILE.name, status=403)
    hub.said = "Access to this resource is disabled."
    assert "its repository is disabled (HTTP 403)" in refusal(WeightsError)


def test_without_a_token_none_is_sent(hub: StandInHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN")
    hub.offer(FILE.name, status=401)
    error = refusal(WeightsError)
    assert "is not there, or not for everyone (HTTP 401); check --repo, and put a token" in error
    assert [request for request in hub.asked if "authorization" in request.headers] == []


def test_white_space_around_a_token_is_not_sent(
    hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", f" {TOKEN}\n")
    hub.offer(FILE.name, DATA)
    fetch(FILE, MOST)
    assert {r.headers["authorization"] for r in hub.asked} == {f"Bearer {TOKEN}"}


@pytest.mark.parametrize("token", [f"{TOKEN} {TOKEN}", f"{TOKEN}\nX: y", f"{TOKEN}é"])
def test_what_can_be_no_token_is_not_sent(
    token: str, hub: StandInHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    assert "HF_TOKEN" in refusal(UsageError)
    assert hub.asked == []


@pytest.mark.parametrize("repo", ["some--one/x", "someone/x..y", "someone/x.git", "-a/b"])
def test_a_name_that_the_hub_forbids_is_not_asked_for(repo: str, hub: StandInHub) -> None:
    assert "--repo takes OWNER/NAME" in refusal(UsageError, HubFile(repo, COMMIT, FILE.name))
    assert hub.asked == []


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"X-Linked-Size": str(3 * 2**20)}, "is 3 MiB, more than the 0 MiB that weights"),
        ({"X-Linked-Size": "large"}, "does not say how large it is"),
        ({"X-Repo-Commit": "f" * 40}, f"does not say how large it is at commit {COMMIT}"),
    ],
)
def test_what_is_too_large_of_no_size_or_of_another_commit_is_not_downloaded(
    headers: dict[str, str], told: str, hub: StandInHub
) -> None:
    hub.offer(FILE.name, DATA, headers=headers)
    assert told in refusal(WeightsError)
    assert {request.method for request in hub.asked} == {"HEAD"}


def test_a_server_that_is_no_hub_is_told(hub: StandInHub) -> None:
    hub.answers[f"/{REPO}/resolve/{COMMIT}/{FILE.name}"] = Answer(body=DATA)
    assert "check the connection, and the HF_ and proxy variables" in refusal(WeightsError)


@pytest.mark.parametrize("changes", [{"sent": 50}, {"length": 100}], ids=str)
def test_a_download_that_breaks_off_leaves_nothing(
    changes: dict[str, int], hub: StandInHub, hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    if "length" in changes:  # shorter than was said before
        hub.offer(FILE.name, DATA[:100], headers={"X-Linked-Size": str(len(DATA))})
    else:
        hub.offer(FILE.name, DATA, **changes)
    assert "the download broke off" in refusal(WeightsError)
    assert list(hub_cache.rglob("blobs/*")) == []


def test_a_redirection_to_another_server_does_not_carry_the_token_on(hub: StandInHub) -> None:
    with StandInHub() as store:
        store.answers["/blob"] = Answer(body=DATA)
        headers = {"Location": f"{store.url}/blob", "X-Linked-Size": str(len(DATA))}
        hub.offer(FILE.name, status=302, headers=headers)
        assert fetch(FILE, MOST).read_bytes() == DATA
        assert [request.path for request in store.asked] == ["/blob"]
        assert TOKEN not in str(store.asked)
        assert TOKEN in str(hub.asked)


def test_a_cache_that_cannot_be_written_is_told(hub: StandInHub, hub_cache: Path) -> None:
    hub_cache.write_text("no folder")
    hub.offer(FILE.name, DATA)
    assert "cannot be kept (" in refusal(OutputError)


def test_the_log_is_as_it_was(hub: StandInHub) -> None:
    refusal(WeightsError)
    assert logging.root.manager.disable == logging.NOTSET


def test_the_checksum_that_the_hub_states_is_known_of_large_files(hub: StandInHub) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    hub.offer("large", DATA, etag=digest)
    hub.offer("small", DATA, etag="1" * 40)
    assert stated_checksum(fetch(HubFile(REPO, COMMIT, "large"), MOST)) == digest
    assert stated_checksum(fetch(HubFile(REPO, COMMIT, "small"), MOST)) is None


def test_a_file_outside_the_cache_has_no_stated_checksum(tmp_path: Path) -> None:
    path = tmp_path / ("a" * 64)
    path.write_bytes(DATA)
    assert stated_checksum(path) is None
