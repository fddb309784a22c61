"""`deal weights` through the real entry point, beside a stand-in for the Hugging Face Hub."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from command import ROOT, Result, deal, environment, refused
from stand_in_hub import COMMIT, REPO, Answer, StandInHub

from deal_cli.model.network import Enhancer
from deal_cli.model.weights import LARGEST, bundled_checksums, load_enhancer, save_enhancer
from deal_cli.networks import BlockConfig, NetworkConfig

NOWHERE = "http://127.0.0.1:9"  # the port of a service that throws away what it gets
TOKEN = "hf_this_is_the_secret"
TINY = NetworkConfig(width=4, blocks=(BlockConfig("stm", 3, 3),))


@pytest.fixture(scope="module")
def enhancer(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file of untrained weights of a tiny network."""
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_enhancer(path, Enhancer(TINY).state_dict(), TINY, {})
    return path.read_bytes()


@pytest.fixture
def hub() -> Iterator[StandInHub]:
    with StandInHub() as hub:
        yield hub


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def variables(url: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of a command whose Hub is at `url`; it is as talkative as it can be made."""
    plain = {k: v for k, v in environment().items() if not k.startswith("HF_")}
    loud = {"HF_DEBUG": "1", "HF_HUB_VERBOSITY": "debug", "HF_HUB_DISABLE_PROGRESS_BARS": "0"}
    loud |= {"HF_HUB_ENABLE_HF_TRANSFER": "1"}  # which the library warns of
    ours = {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "NO_PROXY": "127.0.0.1",
        "TQDM_POSITION": "-1",
    }
    return {**plain, **loud, **ours, **more}


def arguments(name: str = "tiny", *more: str) -> list[str]:
    return ["weights", "pull", name, "--repo", REPO, "--revision", COMMIT, *more]


def pull(hub: StandInHub, home: Path, *more: str, **env: str) -> Result:
    return deal(*arguments("tiny", *more), env=variables(hub.url, home, **env))


# --- list and verify -----------------------------------------------------------------------------


def test_the_list_is_of_all_bundled_files() -> None:
    result = deal("weights", "list", "--json")
    assert (result.returncode, result.stderr) == (0, "")
    rows = {row["name"]: row for row in map(json.loads, result.stdout.splitlines())}
    assert {name: row["sha256"] for name, row in rows.items()} == bundled_checksums()
    assert all(
        row["bytes"] == (ROOT / "weights" / name).stat().st_size for name, row in rows.items()
    )
    assert rows["deal.safetensors"]["what"] == "enhancer"
    assert rows["deal.safetensors"]["parameters"] > 1e5
    assert rows["deal.fp16.onnx"]["what"] == "deal as ONNX, float16"
    assert {row["what"] for row in rows.values()} >= {"generator", "tone predictor"}


def test_a_bad_file_is_named_and_the_others_are_verified(tmp_path: Path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"no weights")
    own = tmp_path / "own.safetensors"
    shutil.copyfile(ROOT / "weights" / "tone.safetensors", own)
    given = ["bad.safetensors", "own.safetensors", "tone", "missing.onnx"]
    result = deal("weights", "verify", *given, cwd=tmp_path)
    assert result.returncode == 3
    first, second = result.stdout.splitlines()
    assert first.startswith("own.safetensors: tone predictor, ")
    assert first.endswith(f"SHA-256 {sha256(own.read_bytes())}")
    assert second.endswith("as bundled")
    errors = result.stderr.splitlines()
    assert [line.split(": ")[1] for line in errors] == ["bad.safetensors", "missing.onnx"]
    assert all("; " in line for line in errors)


def test_the_commands_have_help_and_alone_print_it() -> None:
    asked, alone = deal("weights", "-h"), deal("weights")
    assert (asked.returncode, alone.returncode) == (0, 2)
    assert {"list", "verify", "pull"} <= set(asked.stdout.split())
    assert (alone.stdout + alone.stderr).split() == asked.stdout.split()


# --- pull: had -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class First:
    """A first pull with a token, from a Hub that keeps its files elsewhere; both are gone since."""

    result: Result
    hub: StandInHub
    store: StandInHub
    home: Path

    @property
    def path(self) -> Path:
        return Path(self.result.stdout.removesuffix("\n"))


@pytest.fixture(scope="module")
def first(enhancer: bytes, tmp_path_factory: pytest.TempPathFactory) -> First:
    home = tmp_path_factory.mktemp("home")
    with StandInHub() as hub, StandInHub() as store:
        store.answers["/blob"] = Answer(body=enhancer)
        xet = {"X-Xet-Hash": "2" * 64, "X-Xet-Refresh-Route": "/api/x", "X-Xet-Cas-Url": store.url}
        where = {"Location": f"{store.url}/blob", "X-Linked-Size": str(len(enhancer))}
        hub.offer("tiny.safetensors", etag=sha256(enhancer), status=302, headers=xet | where)
        return First(pull(hub, home, HF_TOKEN=TOKEN), hub, store, home)


def test_stdout_is_the_path_and_stderr_what_it_is(first: First, enhancer: bytes) -> None:
    assert first.result.returncode == 0, first.result.stderr
    assert first.path.is_relative_to(first.home)
    assert first.path.read_bytes() == enhancer
    (line,) = first.result.stderr.splitlines()
    assert line.startswith(f"deal: {REPO}/tiny.safetensors: enhancer, ")
    for part in (sha256(enhancer), COMMIT, "parameters", " MB"):
        assert part in line


def test_the_path_is_one_that_weights_are_loaded_from(first: First, enhancer: bytes) -> None:
    loaded = load_enhancer(str(first.path))
    assert loaded.config == TINY
    assert (loaded.file.name, loaded.file.sha256) == ("tiny", sha256(enhancer))
    if os.name == "posix":
        assert first.path.is_symlink()


def test_nothing_is_asked_for_but_the_file(first: First) -> None:
    assert {r.path for r in first.hub.asked} == {f"/{REPO}/resolve/{COMMIT}/tiny.safetensors"}
    assert first.hub.asked[0].method == "HEAD"
    assert [(r.method, r.path) for r in first.store.asked] == [("GET", "/blob")]


def test_the_token_goes_to_the_hub_and_no_further(first: First) -> None:
    assert {r.headers.get("authorization") for r in first.hub.asked} == {f"Bearer {TOKEN}"}
    assert TOKEN not in str(first.store.asked)
    assert TOKEN not in first.result.stdout + first.result.stderr


@pytest.mark.parametrize("offline", ["", "1"])
def test_what_is_in_the_cache_is_had_without_the_hub(
    offline: str, first: First, enhancer: bytes
) -> None:
    env = variables(NOWHERE, first.home, HF_HUB_OFFLINE=offline)
    result = deal(*arguments("tiny.safetensors", "-q", "--sha256", sha256(enhancer)), env=env)
    assert (result.returncode, result.stdout, result.stderr) == (0, first.result.stdout, "")


# --- pull: refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_is_told_without_the_token(status: int, hub: StandInHub, tmp_path: Path) -> None:
    hub.offer("tiny.safetensors", status=status)
    error = refused(pull(hub, tmp_path, HF_TOKEN=TOKEN), 3)
    assert error.startswith(f"{REPO}/tiny.safetensors: ")
    assert f"(HTTP {status}); " in error
    assert hub.asked[0].headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in error


def test_no_token_is_sent_but_that_of_the_environment(hub: StandInHub, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)  # where the Hub's own program keeps one
    hub.offer("tiny.safetensors", status=401)
    assert "put a token that may read it into HF_TOKEN" in refused(pull(hub, tmp_path), 3)
    assert [r for r in hub.asked if "authorization" in r.headers] == []


def test_a_branch_is_refused_before_anything_is_asked(hub: StandInHub, tmp_path: Path) -> None:
    command = ["weights", "pull", "tiny", "--repo", REPO, "--revision", "main"]
    assert "may move" in refused(deal(*command, env=variables(hub.url, tmp_path)), 2)
    assert hub.asked == []


def test_what_is_too_large_is_not_downloaded(hub: StandInHub, tmp_path: Path) -> None:
    hub.offer("tiny.safetensors", headers={"X-Linked-Size": str(LARGEST + 2**20)})
    assert "is 513 MiB, more than the 512 MiB" in refused(pull(hub, tmp_path), 3)
    assert {request.method for request in hub.asked} == {"HEAD"}


def test_a_hub_that_cannot_be_reached_is_told(tmp_path: Path) -> None:
    error = refused(deal(*arguments(), env=variables(NOWHERE, tmp_path)), 3)
    assert "the Hub cannot be asked (ConnectError); check the connection" in error


def test_a_library_that_cannot_start_says_nothing_on_stdout(tmp_path: Path) -> None:
    env = variables(NOWHERE, tmp_path, HF_HUB_ETAG_TIMEOUT="soon")
    assert "the HF_ and proxy variables" in refused(deal(*arguments(), env=env), 3)


def test_offline_what_is_not_in_the_cache_is_told(hub: StandInHub, tmp_path: Path) -> None:
    error = refused(pull(hub, tmp_path, HF_HUB_OFFLINE="1"), 3)
    assert "is not in the cache, and HF_HUB_OFFLINE is set; unset it" in error
    assert hub.asked == []


def test_a_cache_that_cannot_be_written_is_told(hub: StandInHub, tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("no folder")
    hub.offer("tiny.safetensors", b"1234")
    error = refused(pull(hub, tmp_path), 1)
    assert "cannot be kept (" in error
    assert "HF_HOME" in error


@pytest.mark.skipif(os.name != "posix", reason="Ctrl-C is a signal of POSIX here")
def test_an_interrupted_download_leaves_nothing(hub: StandInHub, tmp_path: Path) -> None:
    hub.offer("tiny.safetensors", bytes(1000), sent=100, waits=True)
    command = [sys.executable, "-m", "deal_cli", *arguments()]
    pipe, env = subprocess.PIPE, variables(hub.url, tmp_path)
    process = subprocess.Popen(command, env=env, stdout=pipe, stderr=pipe, encoding="utf-8")
    deadline = time.monotonic() + 60
    while not any(r.method == "GET" for r in hub.asked) and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)  # until it waits for the body
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "deal: interrupted; finished files are whole\n"
    assert list(tmp_path.rglob("blobs/*")) == []
