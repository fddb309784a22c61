"""Weight files: safetensors with the configuration inside, found by name or path, verified.

Bundled weights lie in `weights/` at the top of a checkout and in `deal_cli/weights/` of an
installed wheel; `SHA256SUMS` beside them holds their checksums (`sha256sum -c` reads it too).
Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

import deal_cli
from deal_cli.config import MAX_WEIGHT_BYTES, MOST_TONE_WIDTH, GeneratorConfig
from deal_cli.errors import UsageError, WeightsError
from deal_cli.mapping import from_mapping, to_mapping
from deal_cli.model.degradations import OPERATIONS
from deal_cli.model.generator import Generator
from deal_cli.model.network import Enhancer
from deal_cli.model.tensor_file import AS_WRITTEN, opened, quoted, shapes_of
from deal_cli.model.tensor_file import read_safetensors as read_safetensors
from deal_cli.model.tensor_file import write_safetensors as write_safetensors
from deal_cli.model.tone import TonePredictor
from deal_cli.networks import NetworkConfig

CHECKSUMS = "SHA256SUMS"
ENHANCER_FORMAT = "deal-enhancer/1"
SUFFIXES = frozenset({".safetensors", ".onnx"})
GENERATOR_FORMAT = "deal-generator/1"
TONE_FORMAT = "deal-tone/1"
GENERATOR = "generator"
TONE = "tone"
LARGEST = MAX_WEIGHT_BYTES


@dataclass(frozen=True)
class WeightFile:
    """A weight file that was found and, when bundled, agrees with its checksum."""

    name: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class EnhancerWeights:
    """Everything a weight file says about an enhancer; the tensors fit the configuration."""

    file: WeightFile
    config: NetworkConfig
    tensors: Mapping[str, Tensor]
    training: Mapping[str, Any]

    def network(self) -> Enhancer:
        """The network with these weights, in float32, in evaluation mode."""
        network = Enhancer(self.config)
        network.load_state_dict(dict(self.tensors), strict=True)
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
    """File name -> SHA-256 of every bundled weight file.

    Raises:
        WeightsError: there are none, or the list of them is damaged.
    """
    path = weights_folder() / CHECKSUMS
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        pairs = [line.split(maxsplit=1) for line in lines if line.strip()]
        return {name: digest for digest, name in pairs}
    except (OSError, ValueError) as error:
        cause = "is no list of checksums"
        raise WeightsError(cause, file=path, remedy="reinstall deal-cli") from error


def find(name_or_file: str, suffix: str = ".safetensors") -> WeightFile:
    """A bundled name (`deal`) or a path to a file, with its checksum verified when bundled.

    Raises:
        WeightsError: no such name or file, one too large to be weights, or a bundled file that is
            damaged.
    """
    path = Path(name_or_file)
    try:
        folder, checksums = weights_folder(), bundled_checksums()
    except WeightsError:
        if path.suffix not in SUFFIXES and not _exists(path):
            raise
        return _measured(path)
    names = [Path(n).stem for n in checksums if n.endswith(suffix)]
    missing = "give --weights an existing file"
    if name_or_file in names:  # a name comes before a file that happens to be called so
        path = folder / (name_or_file + suffix)
        missing = "reinstall deal-cli"
    elif path.suffix not in SUFFIXES and not _exists(path):
        enhancers = ", ".join(sorted(set(names) - {TONE, GENERATOR}))
        raise WeightsError(
            f"no bundled weights are called '{quoted(name_or_file)}'",
            remedy=f"--weights takes a file or one of: {enhancers}",
        )
    file = _measured(path, missing)
    bundled = path.resolve().parent == folder.resolve()
    if bundled and checksums.get(path.name, file.sha256) != file.sha256:
        raise WeightsError("does not match its checksum", file=path, remedy="reinstall deal-cli")
    return file


def load_enhancer(name_or_file: str) -> EnhancerWeights:
    """The enhancer weights of a bundled name or a safetensors file.

    Raises:
        WeightsError: missing, damaged, not safetensors, not an enhancer of this program, or with
            tensors that do not fit the configuration beside them.
    """
    file = find(name_or_file)
    with opened(file.path) as content:
        metadata = content.metadata
        if metadata.get("format") != ENHANCER_FORMAT:
            raise WeightsError(
                f"holds '{quoted(metadata.get('format', 'unknown'), 40)}', not an enhancer",
                file=file.path,
                remedy="give --weights a file made by `deal train`",
            )
        try:
            config = network_config(metadata["config"])
            training = _table(metadata.get("training", "{}"))
        except (KeyError, ValueError) as error:
            raise WeightsError(
                f"its configuration cannot be read ({quoted(error)})",
                file=file.path,
                remedy=AS_WRITTEN,
            ) from error
        tensors = content.tensors_like(shapes_of(lambda: Enhancer(config)))
    return EnhancerWeights(file, config, tensors, training)


def network_config(text: str) -> NetworkConfig:
    """The sizes of a network from the JSON inside a weight file.

    Raises:
        ValueError: it is not JSON, has unknown keys, or describes no network of sane size.
    """
    try:
        return from_mapping(NetworkConfig, _table(text), where="config")
    except UsageError as error:
        raise ValueError(str(error)) from error


def _table(text: str) -> dict[str, Any]:
    """A JSON object; anything else is a ValueError."""
    try:
        table = json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deep") from error
    if not isinstance(table, dict):
        raise ValueError(f"{quoted(text, 40)} is not a table")
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


def load_generator(name_or_file: str) -> Generator:
    """N_G from a bundled name or a safetensors file, in float32, in evaluation mode.

    Raises:
        WeightsError: missing, damaged, no generator of this program, with operations it does not
            have, or with tensors that do not fit the configuration beside them.
    """
    file = find(name_or_file)
    with opened(file.path) as content:
        metadata = content.metadata
        if metadata.get("format") != GENERATOR_FORMAT:
            raise WeightsError(
                f"holds '{quoted(metadata.get('format', 'unknown'), 40)}', not a generator",
                file=file.path,
                remedy="give the generator.safetensors that `deal train` made",
            )
        try:
            table = _table(metadata["config"])
            config = from_mapping(GeneratorConfig, table, where="config")
            strange = sorted(set(config.operations) - set(OPERATIONS))
            if strange:
                raise ValueError(f"unknown degradation '{strange[0]}'")
        except (KeyError, ValueError, UsageError) as error:
            raise WeightsError(
                f"its configuration cannot be read ({quoted(error)})",
                file=file.path,
                remedy=AS_WRITTEN,
            ) from error
        tensors = content.tensors_like(shapes_of(lambda: Generator(config)))
    generator = Generator(config)
    generator.load_state_dict(tensors, strict=True)
    return generator.eval()


def save_generator(path: Path, generator: Generator, training: Mapping[str, Any]) -> None:
    """Write N_G in float32 with its configuration and how it was made."""
    metadata = {
        "format": GENERATOR_FORMAT,
        "config": json.dumps(to_mapping(generator.config)),
        "training": json.dumps(dict(training)),
    }
    tensors = {k: v.detach().float() for k, v in generator.state_dict().items()}
    write_safetensors(path, tensors, metadata)


def beside(enhancer: Path, name: str) -> WeightFile | None:
    """The tone predictor or generator that lies beside an enhancer's file, if one does.

    Raises:
        WeightsError: it is damaged.
    """
    path = enhancer.with_name(f"{name}.safetensors")
    return find(str(path)) if _exists(path) else None


def tone_of(enhancer: Path) -> WeightFile:
    """The file of the tone predictor that belongs to an enhancer's: beside it, else the bundled.

    Raises:
        WeightsError: it is damaged, or there is none.
    """
    return beside(enhancer, TONE) or find(TONE)


def load_tone(enhancer: Path) -> TonePredictor:
    """The tone predictor that belongs to a file of weights: the one beside it, else the bundled.

    Raises:
        WeightsError: damaged, or of another kind.
    """
    return read_tone(tone_of(enhancer))


def read_tone(file: WeightFile) -> TonePredictor:
    """The tone predictor in a file, in float32, in evaluation mode.

    Raises:
        WeightsError: damaged, or of another kind.
    """
    remedy = "use --tone keep, or put the file that `deal train` wrote in its place"
    with opened(file.path) as content:
        if content.metadata.get("format") != TONE_FORMAT:
            raise WeightsError("is not a tone predictor", file=file.path, remedy=remedy)
        stated = content.metadata.get("width", "")
        width = int(stated) if stated.isdecimal() and len(stated) <= 4 else 0
        if not 1 <= width <= MOST_TONE_WIDTH:
            cause = f"states the width '{quoted(stated, 40)}', not 1 to {MOST_TONE_WIDTH}"
            raise WeightsError(cause, file=file.path, remedy=remedy)
        tensors = content.tensors_like(shapes_of(lambda: TonePredictor(width)))
    predictor = TonePredictor(width)
    predictor.load_state_dict(tensors, strict=True)
    return predictor.eval()


def save_tone(path: Path, predictor: TonePredictor, training: Mapping[str, Any]) -> None:
    """Write a tone predictor in float32 with how it was made."""
    metadata = {
        "format": TONE_FORMAT,
        "width": str(predictor.width),
        "training": json.dumps(dict(training)),
    }
    write_safetensors(path, predictor.state_dict(), metadata)


def _measured(path: Path, missing: str = "give --weights an existing file") -> WeightFile:
    """A file with its checksum; what is no file, or too large for weights, is never opened."""
    try:
        status = path.stat()
    except FileNotFoundError as error:
        raise WeightsError("no such file", file=path, remedy=missing) from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        cause = f"cannot be read ({reason})"
        raise WeightsError(cause, file=quoted(path), remedy="check its name and folder") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe or device"
        raise WeightsError(f"is {kind}, not weights", file=path, remedy="give --weights a file")
    if status.st_size == 0:
        raise WeightsError("is empty", file=path, remedy="copy it again")
    if status.st_size > LARGEST:
        raise WeightsError(
            f"is {status.st_size / 2**20:.0f} MiB, more than the {LARGEST / 2**20:.0f} MiB that"
            " weights of this program may have",
            file=path,
            remedy="give --weights a file made by `deal train`",
        )
    return WeightFile(path.stem, path, _sha256(path))


def _exists(path: Path) -> bool:
    """Whether there is anything of that name, pipes included; never an error."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


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
