"""Weight files: the bundled ones listed and verified, others fetched from the Hugging Face Hub.

What a file is, it says itself, and a file counts as such only when it loads.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deal_cli.config import MAX_WEIGHT_BYTES
from deal_cli.errors import UsageError, WeightsError, short
from deal_cli.jobs.weights.hub import HubFile, fetch, stated_checksum

# What loads weights takes torch, for which no refusal has to wait: it is imported where it is used.
if TYPE_CHECKING:
    from rich.table import Table

    from deal_cli.model.weights import WeightFile

SUFFIX = ".safetensors"
WIDTH = 100  # characters that the table needs
OWN = "give a file that `deal train` or `deal export` wrote"


@dataclass(frozen=True)
class Examined:
    """A weight file that loads as what it says it is.

    Attributes:
        name: of a bundled file; else its path as given, or its place on the Hub.
        what: "enhancer", "generator", "tone predictor", or an enhancer "as ONNX".
        parameters: of an enhancer; None of the others.
        size: bytes.
        sha256: of the file.
        bundled: whether it came with this program, and has the checksum stated there.
    """

    name: str
    what: str
    parameters: int | None
    size: int
    sha256: str
    bundled: bool = False

    def __str__(self) -> str:
        count = "" if self.parameters is None else f", {self.parameters:,} parameters"
        origin = ", as bundled" if self.bundled else ""
        size = f"{self.size / 1e6:.2f} MB"
        return f"{self.name}: {self.what}{count}, {size}, SHA-256 {self.sha256}{origin}"

    def to_json(self) -> dict[str, Any]:
        """The row as plain numbers and texts."""
        return {
            "name": self.name,
            "what": self.what,
            "parameters": self.parameters,
            "bytes": self.size,
            "sha256": self.sha256,
        }


def examine(given: Sequence[str] = ()) -> Iterator[Examined | WeightsError]:
    """Examine weight files one by one, and go on behind those that are not good.

    Args:
        given: bundled names, which stand for all files of that name, and files; none: all bundled.

    Raises:
        WeightsError: there are no bundled weights, or the list of them is damaged.
    """
    from deal_cli.model.weights import bundled_checksums, weights_folder

    checksums, folder = bundled_checksums(), weights_folder()
    if not given:
        yield from map(_bundled, checksums)
    for text in given:
        path = Path(text)
        named = [name for name in checksums if text in (name.partition(".")[0], Path(name).stem)]
        if path.name in checksums and path.absolute().parent == folder:
            named = [path.name]
        elif text in checksums and not path.exists():
            named = [text]
        yield from map(_bundled, named) if named else [_given(text)]


def print_rows(rows: Sequence[Examined], *, as_json: bool) -> None:
    """Print the rows on stdout: a JSON object a line, or a table."""
    from rich.console import Console

    if as_json:
        sys.stdout.writelines(json.dumps(row.to_json()) + "\n" for row in rows)
    else:
        console = Console(highlight=False)
        console.width = max(console.width, WIDTH)
        console.print(_table(rows))


@dataclass(frozen=True)
class PullRequest:
    """Which weights to fetch.

    Attributes:
        name: of the file, with its suffix or without.
        repo: the model repository, OWNER/NAME.
        revision: the whole commit, 40 hex digits.
        sha256: what the file has to have, 64 hex digits; None: whatever it has.
    """

    name: str
    repo: str
    revision: str
    sha256: str | None = None

    def __post_init__(self) -> None:
        if not re.fullmatch("[A-Za-z0-9_][A-Za-z0-9_.-]*", self.name.removesuffix(SUFFIX)):
            remedy = "NAME takes letters, digits, dots, - and _, and no folder"
            raise UsageError(f"{short(self.name)} is no name of weights", remedy=remedy)
        if not re.fullmatch("[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+", self.repo):
            remedy = "--repo takes OWNER/NAME"
            raise UsageError(f"{short(self.repo)} is no repository", remedy=remedy)
        if not re.fullmatch("[0-9a-fA-F]{40}", self.revision):
            remedy = "--revision takes all 40 hex digits of one, as a branch or a tag may move"
            raise UsageError(f"{short(self.revision)} is no whole commit", remedy=remedy)
        if self.sha256 is not None and not re.fullmatch("[0-9a-fA-F]{64}", self.sha256):
            remedy = "--sha256 takes 64 hex digits"
            raise UsageError(f"{short(self.sha256)} is no SHA-256", remedy=remedy)

    @property
    def file(self) -> HubFile:
        """The file to fetch."""
        name = self.name.removesuffix(SUFFIX) + SUFFIX
        return HubFile(self.repo, self.revision.lower(), name)


@dataclass(frozen=True)
class Pulled:
    """Weights in the Hub's cache."""

    path: Path
    source: HubFile
    examined: Examined

    def __str__(self) -> str:
        return f"{self.examined}, at commit {self.source.revision}"


def pull(request: PullRequest) -> Pulled:
    """Fetch weights from the Hub, unless its cache has them, and check that they load.

    Raises:
        UsageError: the Hub takes no such name; HF_TOKEN holds no token.
        WeightsError: they cannot be had, are damaged, are none of this program, or have another
            checksum than the one asked for.
        OutputError: the cache cannot be written.
    """
    source = request.file
    path = fetch(source, MAX_WEIGHT_BYTES)
    from deal_cli.model.weights import find

    remedy = "pull a file that `deal train` wrote"
    try:
        file = find(str(path))
        if stated_checksum(path) not in (None, file.sha256):
            remedy = f"delete {path.resolve()}, and pull it again"
            raise WeightsError("does not match its checksum in the cache")
        if request.sha256 is not None and request.sha256.lower() != file.sha256:
            remedy = "check --sha256, and who may write to the repository"
            raise WeightsError(f"has the SHA-256 {file.sha256}, not the one asked for")
        return Pulled(path, source, _examined(file, str(source)))
    except WeightsError as error:
        raise WeightsError(error.cause, file=str(source), remedy=remedy) from error


def _bundled(name: str) -> Examined | WeightsError:
    """A bundled file, or what is wrong with it."""
    from deal_cli.model.weights import find

    stem, _, suffix = name.rpartition(".")
    try:
        return _examined(find(stem, f".{suffix}"), name, bundled=True)
    except WeightsError as error:
        return WeightsError(error.cause, file=error.file, remedy="reinstall deal-cli")


def _given(text: str) -> Examined | WeightsError:
    """A file of anybody's, or what is wrong with it."""
    from deal_cli.model.weights import find

    try:
        return _examined(find(text), text)
    except WeightsError as error:
        cause = error.cause if error.file is not None else "is no bundled name, and no file"
        return WeightsError(cause, file=text, remedy=OWN)


def _examined(file: WeightFile, name: str, *, bundled: bool = False) -> Examined:
    """A file that was found, loaded as what it says it is.

    Raises:
        WeightsError: it is damaged, or none of this program.
    """
    size, parameters = file.path.stat().st_size, None
    if file.path.suffix == ".onnx":
        what = _graph(file)
    else:
        what, parameters = _tensors(file)
    return Examined(name, what, parameters, size, file.sha256, bundled)


def _tensors(file: WeightFile) -> tuple[str, int | None]:
    """What a safetensors file holds, and the parameters of an enhancer."""
    from deal_cli.model import weights
    from deal_cli.model.tensor_file import opened, quoted

    with opened(file.path) as content:
        stated = content.metadata.get("format", "unknown")
    path = str(file.path.absolute())  # unlike any bundled name
    if stated == weights.ENHANCER_FORMAT:
        network = weights.load_enhancer(path).network()
        return "enhancer", sum(tensor.numel() for tensor in network.parameters())
    if stated == weights.GENERATOR_FORMAT:
        weights.load_generator(path)
        return "generator", None
    if stated == weights.TONE_FORMAT:
        weights.read_tone(file)
        return "tone predictor", None
    raise WeightsError(f"holds '{quoted(stated, 40)}', no weights of this program", file=file.path)


def _graph(file: WeightFile) -> str:
    """Which enhancer an ONNX file computes, and in which precision."""
    from deal_cli.model.onnx_facts import facts_of
    from deal_cli.model.weights import bundled_checksums

    facts = facts_of(file.path.read_bytes(), file.path)
    names = {digest: Path(name).stem for name, digest in bundled_checksums().items()}
    return f"{names.get(facts['weights_sha256'], 'enhancer')} as ONNX, {facts['precision']}"


def _table(rows: Sequence[Examined]) -> Table:
    """The rows for a terminal."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    made = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for title in ("file", "what", "parameters", "MB", "SHA-256"):
        made.add_column(title, justify="right" if title in ("parameters", "MB") else "left")
    for row in rows:
        count = "" if row.parameters is None else f"{row.parameters:,}"
        made.add_row(row.name, row.what, count, f"{row.size / 1e6:.2f}", row.sha256[:12])
    return made
