"""Weight files: safetensors with the configuration inside, found by name or path, verified.

Bundled weights lie in `weights/` at the top of a checkout and in `deal_cli/weights/` of an
installed wheel; `SHA256SUMS` beside them holds their checksums (`sha256sum -c` reads it too).
Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import deal_cli
from deal_cli.config import NetworkConfig, from_mapping, to_mapping
from deal_cli.errors import OutputError, UsageError, WeightsError
from deal_cli.model.network import Enhancer
from deal_cli.model.tone import TonePredictor

CHECKSUMS = "SHA256SUMS"
ENHANCER_FORMAT = "deal-enhancer/1"
SUFFIXES = frozenset({".safetensors", ".onnx"})
TONE_FORMAT = "deal-tone/1"


@dataclass(frozen=True)
class WeightFile:
    """A weight file that was found and, when bundled, agrees with its checksum."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class EnhancerWeights:
    """Everything a weight file says about an enhancer."""

    file: WeightFile
    config: NetworkConfig
    tensors: Mapping[str, Tensor]
    training: Mapping[str, Any]

    def network(self) -> Enhancer:
        """The network with these weights, in float32, in evaluation mode.

        Raises:
            WeightsError: the tensors do not fit the configuration.
        """
        network = Enhancer(self.config)
        try:
            network.load_state_dict(dict(self.tensors), strict=True)
        except RuntimeError as error:
            raise WeightsError(
                "the tensors do not fit the architecture the file states",
                file=self.file.path,
                remedy="use the file as `deal train` wrote it",
            ) from error
        return network.eval()


def weights_folder() -> Path:
    """Where the bundled weights are: in the wheel, or beside the package in a checkout.

    Raises:
        WeightsError: there are none.
    """
    package = Path(deal_cli.__file__).parent
    for folder in (package / "weights", package.parent / "weights"):
        if (folder / CHECKSUMS).is_file():
            return folder
    raise WeightsError("no bundled weights found", remedy="reinstall deal-cli")


def bundled_checksums() -> dict[str, str]:
    """File name -> SHA-256 of every bundled weight file."""
    lines = (weights_folder() / CHECKSUMS).read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if line)}


def find(name_or_file: str, suffix: str = ".safetensors") -> WeightFile:
    """A bundled name (`deal`) or a path to a file, with its checksum verified when bundled.

    Raises:
        WeightsError: no such name or file, or a bundled file that is damaged.
    """
    path = Path(name_or_file)
    try:
        folder, checksums = weights_folder(), bundled_checksums()
    except WeightsError:
        if not path.is_file():
            raise
        return WeightFile(path.stem, path, _sha256(path))
    names = [Path(n).stem for n in checksums if n.endswith(suffix)]
    if name_or_file in names:  # a name comes before a file that happens to be called so
        path = folder / (name_or_file + suffix)
    elif path.suffix in SUFFIXES and not path.is_file():
        raise WeightsError("no such file", file=path, remedy="give --weights an existing file")
    elif not path.is_file():
        raise WeightsError(
            f"no bundled weights are called '{name_or_file}'",
            remedy=f"--weights takes a file or one of: {', '.join(sorted(names))}",
        )
    file = WeightFile(path.stem, path, _sha256(path))
    bundled = path.resolve().parent == folder.resolve()
    if bundled and checksums.get(path.name, file.sha256) != file.sha256:
        raise WeightsError("does not match its checksum", file=path, remedy="reinstall deal-cli")
    return file


def load_enhancer(name_or_file: str) -> EnhancerWeights:
    """The enhancer weights of a bundled name or a safetensors file.

    Raises:
        WeightsError: missing, damaged, not safetensors, or not an enhancer of this program.
    """
    file = find(name_or_file)
    metadata, tensors = read_safetensors(file.path)
    if metadata.get("format") != ENHANCER_FORMAT:
        raise WeightsError(
            f"holds '{metadata.get('format', 'unknown')}', not an enhancer",
            file=file.path,
            remedy="give --weights a file made by `deal train`",
        )
    try:
        config = from_mapping(NetworkConfig, _table(metadata["config"]), where="config")
        training = _table(metadata.get("training", "{}"))
    except (KeyError, ValueError, UsageError) as error:
        raise WeightsError(
            f"its configuration cannot be read ({error})",
            file=file.path,
            remedy="use the file as `deal train` wrote it",
        ) from error
    return EnhancerWeights(file, config, tensors, training)


def _table(text: str) -> dict[str, Any]:
    """A JSON object; anything else is a ValueError."""
    table = json.loads(text)
    if not isinstance(table, dict):
        raise ValueError(f"{text!r} is not a table")
    return table


def save_enhancer(
    path: Path, tensors: Mapping[str, Tensor], config: NetworkConfig, training: Mapping[str, Any]
) -> None:
    """Write enhancer weights in float32 with their configuration and how they were made."""
    metadata = {
        "format": ENHANCER_FORMAT,
        "config": json.dumps(to_mapping(config)),
        "training": json.dumps(dict(training)),
    }
    write_safetensors(path, {k: v.detach().float() for k, v in tensors.items()}, metadata)


def load_tone(enhancer: WeightFile) -> TonePredictor:
    """The tone predictor that belongs to enhancer weights: the one beside them, else the bundled.

    Raises:
        WeightsError: damaged, or of another kind.
    """
    beside = enhancer.path.with_name("tone.safetensors")
    file = find(str(beside)) if beside.is_file() else find("tone")
    metadata, tensors = read_safetensors(file.path)
    if metadata.get("format") != TONE_FORMAT:
        raise WeightsError("is not a tone predictor", file=file.path)
    predictor = TonePredictor(int(metadata["width"]))
    try:
        predictor.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise WeightsError("the tensors do not fit a tone predictor", file=file.path) from error
    return predictor.eval()


def save_tone(path: Path, predictor: TonePredictor, training: Mapping[str, Any]) -> None:
    """Write a tone predictor in float32 with how it was made."""
    metadata = {
        "format": TONE_FORMAT,
        "width": str(predictor.width),
        "training": json.dumps(dict(training)),
    }
    write_safetensors(path, predictor.state_dict(), metadata)


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        WeightsError: the file is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {}), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"is not a whole safetensors file ({error})",
            file=path,
            remedy="pickled checkpoints are never opened; give a .safetensors file",
        ) from error


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all.

    Raises:
        OutputError: it cannot be written there.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, partial, metadata)
        partial.replace(path)
    except (SafetensorError, OSError) as error:
        raise OutputError(
            f"cannot be written ({error})", file=path, remedy="choose another folder"
        ) from error


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(
            f"cannot be read ({error.strerror})",
            file=path,
            remedy="check that it is there and yours",
        ) from error
