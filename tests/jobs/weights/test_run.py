"""Weight files are what they say they are, or are named with what is wrong."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import torch
from stand_in_hub import COMMIT, REPO, StandInHub

from deal_cli.config import GeneratorConfig
from deal_cli.errors import UsageError, WeightsError
from deal_cli.jobs.weights.run import Examined, PullRequest, examine, print_rows, pull
from deal_cli.model import weights
from deal_cli.model.generator import Generator
from deal_cli.model.tone import TonePredictor
from deal_cli.model.weights import save_generator, save_tone, write_safetensors


@pytest.fixture
def copied_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the bundled weights in the place of them."""
    folder = tmp_path / "weights"
    shutil.copytree(weights.weights_folder(), folder)
    monkeypatch.setattr(weights, "weights_folder", lambda: folder)
    return folder


def one(*given: str | Path) -> Examined:
    (found,) = examine([str(text) for text in given])
    assert isinstance(found, Examined), found
    return found


def error(*given: str | Path) -> str:
    (found,) = examine([str(text) for text in given])
    assert isinstance(found, WeightsError)
    assert found.remedy
    return str(found)


# --- examined ------------------------------------------------------------------------------------


def test_all_bundled_files_are_good_and_what_they_are_called() -> None:
    found = [*examine()]
    assert [row.name for row in found if isinstance(row, Examined)] == [
        *weights.bundled_checksums()
    ]
    kinds = {row.name: row.what for row in found if isinstance(row, Examined)}
    assert kinds["deal-fast.safetensors"] == "enhancer"
    assert kinds["deal-fast.onnx"] == "deal-fast as ONNX, float32"
    assert kinds["generator.safetensors"] == "generator"
    assert kinds["tone.safetensors"] == "tone predictor"


def test_a_name_stands_for_all_its_files() -> None:
    names = {row.name for row in examine(["deal"]) if isinstance(row, Examined)}
    assert names == {"deal.safetensors", "deal.onnx", "deal.fp16.onnx"}
    assert one("deal.fp16").name == "deal.fp16.onnx"
    assert one("tone.safetensors").bundled


def test_only_enhancers_have_their_parameters_counted(fresh_weights: Path) -> None:
    tensors = weights.load_enhancer(str(fresh_weights)).network().parameters()
    assert one(fresh_weights).parameters == sum(tensor.numel() for tensor in tensors)
    assert one("tone").parameters is None


def test_files_of_anybody_are_what_they_hold(fresh_weights: Path, tmp_path: Path) -> None:
    save_generator(tmp_path / "a.safetensors", Generator(GeneratorConfig()), {})
    save_tone(tmp_path / "b.safetensors", TonePredictor(4), {})
    shutil.copyfile(weights.weights_folder() / "deal.onnx", tmp_path / "c.onnx")
    files = [fresh_weights, *(tmp_path / name for name in ("a.safetensors", "b.safetensors"))]
    for path, what in zip(files, ("enhancer", "generator", "tone predictor"), strict=True):
        found = one(path)
        assert (found.what, found.name, found.bundled) == (what, str(path), False)
        assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
        assert str(found).endswith(found.sha256)
    assert one(tmp_path / "c.onnx").what == "deal as ONNX, float32"


def test_a_file_in_the_working_folder_is_not_taken_for_a_bundled_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_tone(tmp_path / "deal.safetensors", TonePredictor(4), {})
    save_tone(tmp_path / "deal", TonePredictor(4), {})
    assert one("deal.safetensors").what == "tone predictor"
    assert one("./deal").what == "tone predictor"
    assert all(row.bundled for row in examine() if isinstance(row, Examined))
    assert "no such file" in error("nowhere/deal.onnx")


def test_a_bundled_file_is_known_by_its_path(copied_weights: Path) -> None:
    path = copied_weights / "tone.safetensors"
    assert one(path).bundled
    path.write_bytes(path.read_bytes()[:-1])
    assert error(path).endswith("does not match its checksum; reinstall deal-cli")


@pytest.mark.parametrize("name", ["deal.safetensors", "deal.onnx"])
def test_damaged_and_missing_files_are_named_and_the_others_examined(
    name: str, copied_weights: Path
) -> None:
    path, gone = copied_weights / name, copied_weights / "generator.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    gone.unlink()
    found = [*examine()]
    errors = [str(one) for one in found if isinstance(one, WeightsError)]
    assert sorted(errors) == sorted(
        [
            f"{path}: does not match its checksum; reinstall deal-cli",
            f"{gone}: no such file; reinstall deal-cli",
        ]
    )
    assert len(found) == len(weights.bundled_checksums())


def test_a_file_with_its_checksum_is_loaded_all_the_same(copied_weights: Path) -> None:
    path = copied_weights / "tone.safetensors"
    path.write_bytes(b"no weights")
    digest = hashlib.sha256(b"no weights").hexdigest()
    (copied_weights / "SHA256SUMS").write_text(f"{digest}  tone.safetensors\n")
    assert "is not a whole safetensors file" in error("tone")


def test_what_is_no_weights_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"x": torch.zeros(2)}, {"format": "deal-pattern/1"})
    assert "holds 'deal-pattern/1', no weights of this program" in error(path)
    write_safetensors(path, {"x": torch.zeros(2)}, {})
    assert "holds 'unknown', no weights of this program" in error(path)
    graph = tmp_path / "a.onnx"
    graph.write_bytes(b"no graph")
    assert error(graph).startswith(f"{graph}: is not a whole ONNX file; ")


def test_neither_a_name_nor_a_file_is_told(tmp_path: Path) -> None:
    assert error("nothing").startswith("nothing: is no bundled name, and no file; ")
    assert error(tmp_path / "x.safetensors").startswith(
        f"{tmp_path / 'x.safetensors'}: no such file"
    )
    assert "is a folder" in error(tmp_path)


# --- printed -------------------------------------------------------------------------------------

ROWS = (
    Examined("a.safetensors", "enhancer", 12345, 1_460_000, "ab" * 32, bundled=True),
    Examined("b.safetensors", "tone predictor", None, 20_000, "cd" * 32),
)


def test_the_table_has_a_line_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, as_json=False)
    lines = capsys.readouterr().out.splitlines()
    (first,) = [line.split() for line in lines if "a.safetensors" in line]
    assert first == ["a.safetensors", "enhancer", "12,345", "1.46", "abababababab"]
    (second,) = [line.split() for line in lines if "b.safetensors" in line]
    assert second == ["b.safetensors", "tone", "predictor", "0.02", "cdcdcdcdcdcd"]


def test_the_rows_hold_the_whole_checksum(capsys: pytest.CaptureFixture[str]) -> None:
    print_rows(ROWS, as_json=True)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["sha256"] for row in rows] == ["ab" * 32, "cd" * 32]
    assert [row["parameters"] for row in rows] == [12345, None]


# --- pulled --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"revision": "main"}, "a branch or a tag may move"),
        ({"revision": "v1.0"}, "a branch or a tag may move"),
        ({"revision": COMMIT[:7]}, "takes all 40 hex digits"),
        ({"revision": COMMIT + "\n"}, "takes all 40 hex digits"),
        ({"repo": "thermal"}, "--repo takes OWNER/NAME"),
        ({"repo": "a/b/c"}, "--repo takes OWNER/NAME"),
        ({"repo": "https://huggingface.co/a/b"}, "--repo takes OWNER/NAME"),
        ({"name": "folder/x"}, "no folder"),
        ({"name": "..\\x"}, "no folder"),
        ({"name": "../x.safetensors"}, "no folder"),
        ({"name": ".safetensors"}, "no folder"),
        ({"name": ""}, "no folder"),
        ({"sha256": "abc"}, "--sha256 takes 64 hex digits"),
    ],
)
def test_what_cannot_be_pulled_is_refused_at_once(changes: dict[str, str], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        PullRequest(**{"name": "x", "repo": REPO, "revision": COMMIT, **changes})
    assert told in str(caught.value)


@pytest.mark.parametrize("name", ["x", "x.safetensors"])
def test_a_name_has_its_suffix_once_and_a_commit_is_in_lower_case(name: str) -> None:
    file = PullRequest(name, REPO, COMMIT.upper()).file
    assert (file.name, file.revision, str(file)) == (
        "x.safetensors",
        COMMIT,
        f"{REPO}/x.safetensors",
    )


def refusal(hub: StandInHub, data: bytes, sha256: str | None = None, etag: str = "1" * 40) -> str:
    hub.offer("x.safetensors", data, etag=etag)
    with pytest.raises(WeightsError) as caught:
        pull(PullRequest("x", REPO, COMMIT, sha256))
    message = str(caught.value)
    assert message.startswith(f"{REPO}/x.safetensors: ")
    return message.removeprefix(f"{REPO}/x.safetensors: ")


def test_what_was_pulled_says_what_it_is_and_whence(hub: StandInHub, fresh_weights: Path) -> None:
    data = fresh_weights.read_bytes()
    hub.offer("x.safetensors", data)
    digest = hashlib.sha256(data).hexdigest()
    pulled = pull(PullRequest("x", REPO, COMMIT, digest.upper()))
    assert pulled.path.read_bytes() == data
    assert str(pulled).startswith(f"{REPO}/x.safetensors: enhancer, ")
    assert str(pulled).endswith(f"SHA-256 {digest}, at commit {COMMIT}")


def test_a_tone_predictor_that_was_pulled_is_used_by_an_enhancer_of_its_commit(
    hub: StandInHub, fresh_weights: Path, tmp_path: Path
) -> None:
    save_tone(tmp_path / "tone.safetensors", TonePredictor(4), {})
    hub.offer("x.safetensors", fresh_weights.read_bytes())
    hub.offer("tone.safetensors", (tmp_path / "tone.safetensors").read_bytes(), etag="2" * 40)
    tone, enhancer = (pull(PullRequest(name, REPO, COMMIT)).path for name in ("tone", "x"))
    assert weights.tone_of(enhancer).path == tone
    assert weights.load_tone(enhancer).width == 4


def test_another_checksum_than_the_one_asked_for_is_refused(
    hub: StandInHub, fresh_weights: Path
) -> None:
    data = fresh_weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    told = f"has the SHA-256 {digest}, not the one asked for; check --sha256"
    assert refusal(hub, data, "0" * 64).startswith(told)


def test_damage_in_the_cache_is_mended_by_deleting_what_is_named(
    hub: StandInHub, fresh_weights: Path
) -> None:
    data = fresh_weights.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    message = refusal(hub, data[:-1] + b"?", etag=digest)
    cause, _, rest = message.partition("; delete ")
    assert cause == "does not match its checksum in the cache"
    Path(rest.removesuffix(", and pull it again")).unlink()
    hub.offer("x.safetensors", data, etag=digest)
    assert pull(PullRequest("x", REPO, COMMIT)).examined.sha256 == digest


def test_what_is_no_weights_of_this_program_is_refused(hub: StandInHub, tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    write_safetensors(other, {"x": torch.zeros(2)}, {"format": "another's"})
    told = "holds 'another's', no weights of this program; pull a file that `deal train` wrote"
    assert refusal(hub, other.read_bytes()) == told


@pytest.mark.parametrize(
    ("data", "told"),
    [(b"<html>x</html>", "is not a whole safetensors file ("), (b"", "is empty; pull a file")],
)
def test_what_is_no_safetensors_file_is_refused(data: bytes, told: str, hub: StandInHub) -> None:
    assert refusal(hub, data).startswith(told)
