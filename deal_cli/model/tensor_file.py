"""Safetensors files, read with suspicion and written whole.

A weight file may come from anywhere. What it says of itself is compared with what the program
expects, on names, shapes and dtypes alone, before memory is taken for a single number of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from deal_cli.errors import OutputError, WeightsError

#: Bytes of the header: names and shapes of the largest network and its optimiser need a tenth.
LARGEST_HEADER = 4 * 2**20

AS_WRITTEN = "use the file as `deal train` wrote it"

Shapes = Mapping[str, tuple[int, ...]]


def shapes_of(make: Callable[[], nn.Module]) -> Shapes:
    """Names and shapes of the tensors of a network that is described and never allocated."""
    with torch.device("meta"), _Undrawn():
        return {name: tuple(tensor.shape) for name, tensor in make().state_dict().items()}


class _Undrawn(TorchFunctionMode):
    """First weights are not drawn: without numbers there is nothing to draw them for."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


class TensorFile:
    """An open safetensors file: `metadata` is at hand, tensors are read when they are wanted."""

    def __init__(self, path: Path, content: Any) -> None:
        self._path = path
        self._content = content
        self.metadata: dict[str, str] = dict(content.metadata() or {})

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor as it is."""
        return {key: self._content.get_tensor(key) for key in self._content.keys()}  # noqa: SIM118

    def tensors_like(self, expected: Shapes) -> dict[str, Tensor]:
        """Every tensor, all float32 and finite, with the expected names and shapes.

        Raises:
            WeightsError: other names, shapes or dtypes; numbers that are none.
        """
        held = {key: self._content.get_slice(key) for key in self._content.keys()}  # noqa: SIM118
        difference = next(_differences(held, expected), None)
        if difference is not None:
            raise WeightsError(
                f"the tensors do not fit the architecture the file states ({difference})",
                file=self._path,
                remedy=AS_WRITTEN,
            )
        tensors = self.tensors()
        for name, tensor in tensors.items():
            if not tensor.isfinite().all():
                cause = f"holds a tensor with NaN or infinite numbers ('{name}')"
                raise WeightsError(cause, file=self._path, remedy="train it again")
            if name.endswith("running_var") and (tensor < 0).any():
                cause = f"holds a negative variance ('{name}')"
                raise WeightsError(cause, file=self._path, remedy="train it again")
        return tensors


@contextmanager
def opened(path: Path) -> Iterator[TensorFile]:
    """A safetensors file whose header agrees with its length; nothing is ever unpickled.

    Raises:
        WeightsError: the file is damaged or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
        if length > LARGEST_HEADER:
            raise SafetensorError(f"a header of {length} bytes")
        with safe_open(path, framework="pt") as content:
            yield TensorFile(path, content)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"is not a whole safetensors file ({quoted(error)})",
            file=path,
            remedy="pickled checkpoints are never opened; give a .safetensors file",
        ) from error


def read_safetensors(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Metadata and tensors of a safetensors file.

    Raises:
        WeightsError: the file is damaged or of another kind.
    """
    with opened(path) as content:
        return content.metadata, content.tensors()


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
        try:
            save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, partial, metadata)
            partial.replace(path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    except (SafetensorError, OSError) as error:
        raise OutputError(
            f"cannot be written ({error})", file=path, remedy="choose another folder"
        ) from error


def quoted(words: object, most: int = 120) -> str:
    """What a file of unknown make says, safe to print: on one line, short, without controls."""
    text = "".join(c if c.isprintable() else " " for c in str(words)[: 4 * most])
    text = " ".join(text.split())
    return text if len(text) <= most else text[:most] + "…"


def _differences(held: Mapping[str, Any], expected: Shapes) -> Iterator[str]:
    for name, shape in expected.items():
        if name not in held:
            yield f"'{name}' is missing"
        elif tuple(held[name].get_shape()) != shape:
            yield f"'{name}' is {_by(held[name].get_shape())}, not {_by(shape)}"
        elif held[name].get_dtype() != "F32":
            yield f"'{name}' is {held[name].get_dtype()}, not F32"
    for name in held:
        if name not in expected:
            yield f"'{quoted(name, 60)}' is not part of it"


def _by(shape: Any) -> str:
    return quoted("x".join(map(str, shape)) or "one number", 60)
