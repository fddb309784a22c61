"""What inputs stand for, where results go, and what is refused before any work."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from deal_cli.errors import ExitCode, UsageError
from deal_cli.jobs.batch.plan import natural, plan_items

FILES = ("a.png", "b.tif", "notes.txt", ".hidden.png", "s/x.png", "s/deep/y.JPG", "ü é/中 文.png")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a tree `d` of empty files; planning never opens one."""
    monkeypatch.chdir(tmp_path)
    for name in FILES:
        path = tmp_path / "d" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def plan(*inputs: str, out: str | None = "out", recursive: bool = False) -> dict[str, str]:
    """Input -> output of every picture, or the cause why there is none."""
    items = plan_items(inputs, out, recursive=recursive)
    return {
        "-" if item.source is None else item.source.as_posix(): item.error.cause
        if item.error
        else ("-" if item.target is None else item.target.as_posix())
        for item in items
    }


def refusal(*inputs: str, out: str | None = "out", **options: bool) -> str:
    with pytest.raises(UsageError) as caught:
        plan_items(inputs, out, **options)
    assert caught.value.exit_code == ExitCode.USAGE
    return str(caught.value)


# --- files and folders ---------------------------------------------------------------------------


def test_files_keep_their_names_in_the_output_folder() -> None:
    assert plan("d/a.png", "d/s/x.png") == {"d/a.png": "out/a.png", "d/s/x.png": "out/x.png"}


def test_a_folder_is_the_pictures_directly_in_it() -> None:
    assert plan("d") == {"d/a.png": "out/a.png", "d/b.tif": "out/b.tif"}


def test_recursion_mirrors_the_tree_without_the_folders_own_name() -> None:
    assert plan("d", recursive=True) == {
        "d/a.png": "out/a.png",
        "d/b.tif": "out/b.tif",
        "d/s/deep/y.JPG": "out/s/deep/y.JPG",
        "d/s/x.png": "out/s/x.png",
        "d/ü é/中 文.png": "out/ü é/中 文.png",
    }


def test_the_folder_of_results_is_never_an_input(here: Path) -> None:
    (here / "d/done/s").mkdir(parents=True)
    (here / "d/done/s/x.png").touch()
    assert "d/done/s/x.png" not in plan("d", out="d/done", recursive=True)
    assert "d/done/s/x.png" not in plan("d/**/*.png", out="d/done")
    assert "d/done/s/x.png" in plan("d", out="elsewhere", recursive=True)


def test_hidden_files_and_folders_are_left_out(here: Path) -> None:
    (here / "d/.cache").mkdir()
    (here / "d/.cache/z.png").touch()
    assert not [name for name in plan("d", recursive=True) if "/." in name]
    assert not [name for name in plan("d/**/*.png") if "/." in name]


def test_numbers_in_names_are_numbers() -> None:
    names = ["f10.png", "f2.png", "F1.png", "f2/b.png", "f02.png", "x.png", "10.png", "9.png"]
    in_order = sorted(map(Path, names), key=natural)
    assert [path.as_posix() for path in in_order] == [
        *("9.png", "10.png", "F1.png", "f2/b.png", "f02.png", "f2.png", "f10.png", "x.png"),
    ]


def test_a_folder_is_read_in_natural_order(here: Path) -> None:
    (here / "n").mkdir()
    for number in (10, 9, 100, 1):
        (here / f"n/frame{number}.png").touch()
    assert [Path(name).stem for name in plan("n")] == ["frame1", "frame9", "frame10", "frame100"]


def test_a_folder_without_pictures_is_refused_alone_and_named_among_others(here: Path) -> None:
    (here / "empty.png").mkdir()
    assert "give -r" in refusal("empty.png")
    assert "give -r" not in refusal("empty.png", recursive=True)
    assert plan("empty.png", "d/a.png") == {
        "empty.png": "is a folder without pictures",
        "d/a.png": "out/a.png",
    }


def test_a_folder_called_like_a_picture_is_named_or_looked_into(here: Path) -> None:
    (here / "d/odd.png").mkdir()
    (here / "d/odd.png/in.png").touch()
    assert "d/odd.png" in plan("d")
    assert "d/odd.png/in.png" in plan("d", recursive=True)
    assert "d/odd.png" not in plan("d", recursive=True)


@pytest.mark.skipif(sys.platform == "win32", reason="needs links and POSIX permissions")
def test_a_circle_of_links_ends_and_a_broken_link_is_an_input(here: Path) -> None:
    (here / "d/s/up").symlink_to(here / "d", target_is_directory=True)
    (here / "d/gone.png").symlink_to(here / "nowhere.png")
    names = plan("d", recursive=True)
    assert "d/gone.png" in names
    assert not [name for name in names if "up" in name]


# --- patterns, lists and streams -----------------------------------------------------------------


def test_patterns_are_expanded_when_the_shell_does_not() -> None:
    assert plan("d/*.png") == {"d/a.png": "out/a.png"}
    assert plan("d/**/*.[jp][pn]g") == {
        "d/a.png": "out/a.png",
        "d/s/x.png": "out/s/x.png",
        "d/ü é/中 文.png": "out/ü é/中 文.png",
    }
    assert plan("*/b.???") == {"d/b.tif": "out/d/b.tif"}


def test_a_pattern_without_matches_is_refused() -> None:
    assert refusal("d/*.webp") == "d/*.webp: no file matches; check the pattern"


def test_a_file_called_like_a_pattern_or_a_list_is_itself(here: Path) -> None:
    for name in ("[a].png", "@b.png"):
        (here / name).touch()
        assert plan(name) == {name: f"out/{name}"}


@pytest.mark.parametrize(
    "text",
    ["d/a.png\nd/s\n", "d/a.png\r\n\r\nd/s", "d/a.png\0d/s\0"],
    ids=["lines", "windows", "nul"],
)
def test_a_list_holds_files_and_folders(here: Path, text: str) -> None:
    (here / "list.txt").write_bytes(text.encode())
    assert plan("@list.txt") == {"d/a.png": "out/a.png", "d/s/x.png": "out/x.png"}


def test_a_list_may_come_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO("d/ü é/中 文.png\n".encode()))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert plan("@-") == {"d/ü é/中 文.png": "out/中 文.png"}


def test_a_name_in_a_list_that_is_no_file_is_refused_with_the_list(here: Path) -> None:
    (here / "list.txt").write_text("d/a.png\nd/gone.png\n", encoding="utf-8")
    assert refusal("@list.txt") == "d/gone.png: no such file; check the list list.txt"


def test_a_list_that_is_empty_or_missing_is_refused(here: Path) -> None:
    (here / "list.txt").write_text("\n \n", encoding="utf-8")
    assert "is an empty list" in refusal("@list.txt")
    assert "cannot be read" in refusal("@nothing.txt")


def test_one_picture_goes_through_the_standard_streams() -> None:
    assert plan("-", out=None) == {"-": "-"}
    assert plan("-", out="-") == {"-": "-"}
    assert plan("-", out="clean.png") == {"-": "clean.png"}
    assert plan("d/a.png", out="-") == {"d/a.png": "-"}


def test_streams_carry_one_picture_only() -> None:
    assert "alone" in refusal("-", "d/a.png")
    assert "one file for 2 pictures" in refusal("d/a.png", "d/b.tif", out="-")
    assert "give -o a file" in refusal("-", out="folder")


# --- outputs -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["new.png", "new.TIF", "new.npy", "sub/new.jpg"])
def test_one_input_may_name_its_output(name: str) -> None:
    assert plan("d/a.png", out=name) == {"d/a.png": name}


def test_a_folder_called_like_a_picture_is_a_folder(here: Path) -> None:
    (here / "out.png").mkdir()
    assert plan("d/a.png", "d/b.tif", out="out.png")["d/a.png"] == "out.png/a.png"


def test_nothing_is_made_while_planning(here: Path) -> None:
    before = sorted(here.rglob("*"))
    plan("d", recursive=True)
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("inputs", "out", "cause", "remedy"),
    [
        (["d/a.png", "c.png"], "out", "c.png: no such file", "check the path"),
        (["d/a.png"], None, "no output named", "give -o a folder"),
        (["d/a.png", "d/b.tif"], "one.png", "one.png: is one file for 2 pictures", "give -o a"),
        (["d/a.png"], "d/notes.txt", "deal does not write .txt files", "name it with one of"),
        (["d/a.png"], "clean.webp", "deal does not write .webp files", "name it with one of"),
        (["d", "d/s/x.png"], "d/notes", "d/notes: is not a folder", "give -o a folder"),
        (["d/a.png", "./d/a.png"], "out", "would both be written to", "different folders"),
        (["d/a.png", "d/s/../a.png"], "out", "would both be written to", "different folders"),
        (["d"], "d", "overwritten by its own result", "--overwrite"),
        (["d/a.png"], "d", "overwritten by its own result", "--overwrite"),
        (["d/a.png"], "d/s/../a.png", "overwritten by its own result", "--overwrite"),
        (["n" * 300 + ".png"], "out", "cannot be looked up", "check the path"),
        (["d/a.png"], "n" * 300, "cannot be looked up", "check the path"),
        (["d/a\0.png"], "out", "no such file", "check the path"),
    ],
)
def test_what_cannot_be_planned_is_an_error_of_use(
    here: Path, inputs: list[str], out: str | None, cause: str, remedy: str
) -> None:
    (here / "d/notes").touch()
    told = refusal(*inputs, out=out)
    assert cause in told
    assert remedy in told


def test_two_inputs_for_one_output_are_both_named(here: Path) -> None:
    (here / "e").mkdir()
    (here / "e/a.png").touch()
    told = refusal("d", "e")
    assert "e/a.png" in told.replace(os.sep, "/")
    assert "d/a.png" in told.replace(os.sep, "/")


def test_the_result_of_one_input_never_replaces_another(here: Path) -> None:
    (here / "d/s/a.png").touch()
    told = refusal("d/s/a.png", "d/a.png", "d/b.tif", out="d", overwrite=True)
    assert "overwritten by the result of" in told
    assert "--overwrite" not in told


def test_a_picture_may_replace_itself_when_told_to() -> None:
    (item,) = plan_items(["d/a.png"], "d", overwrite=True)
    assert item.source == item.target
