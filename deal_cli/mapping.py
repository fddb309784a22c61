"""Settings from TOML files and from mappings, and back: default < TOML file < flag.

An unknown key is an error that names the nearest known one, so that a misspelt setting never goes
unnoticed. Standard library only: `deal --help` needs nothing else.
"""

from __future__ import annotations

import dataclasses
import difflib
import tomllib
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from deal_cli.errors import UsageError, short

T = TypeVar("T")


def load_toml(cls: type[T], path: Path) -> T:
    """The settings of a TOML file over the defaults of `cls`.

    Raises:
        UsageError: the file is missing or not TOML, a key is unknown, or a value does not fit.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot be read ({error.strerror})", file=path) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        remedy = "mend it, or take it from a copy"
        raise UsageError(f"is not valid TOML ({error})", file=path, remedy=remedy) from error
    return from_mapping(cls, table, where=str(path))


def from_mapping(cls: type[T], table: Mapping[str, Any], where: str) -> T:
    """`cls` filled from a nested mapping (TOML or JSON); keys left out keep their defaults.

    Raises:
        UsageError: a key is unknown (the nearest known one is named) or a value does not fit.
    """
    hints = typing.get_type_hints(cls)
    for key in table:
        if key not in hints:
            near = difflib.get_close_matches(key[:60], hints, n=1, cutoff=0.0)[0]
            raise UsageError(
                f"unknown key {short(key)}", file=where, remedy=f"did you mean '{near}'?"
            )
    values = {k: _convert(hints[k], v, where=where, key=k) for k, v in table.items()}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise UsageError(f"{cls.__name__}: {error}", file=where) from error


def to_mapping(config: Any) -> dict[str, Any]:
    """A configuration as plain nested dictionaries, ready for TOML or JSON."""
    plain: dict[str, Any] = dataclasses.asdict(config)
    return plain


def _convert(hint: Any, value: Any, *, where: str, key: str) -> Any:
    """`value` as the type `hint` says, or a UsageError that names the key."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if isinstance(value, Mapping):
            return from_mapping(hint, value, where=where)
    elif origin is tuple and isinstance(value, list | tuple):
        items = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(items) == len(value):
            pairs = zip(items, value, strict=True)
            return tuple(_convert(h, v, where=where, key=key) for h, v in pairs)
    elif origin is not None and isinstance(value, Mapping) and len(arguments) == 2:
        return {
            k: _convert(arguments[1], v, where=where, key=f"{key}.{k}") for k, v in value.items()
        }
    elif origin is Literal:
        if value in arguments:
            return value
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif (
        isinstance(hint, type)
        and isinstance(value, hint)
        and isinstance(value, bool) == (hint is bool)
    ):
        return value
    raise UsageError(
        f"'{key}' cannot be {short(value)}", file=where, remedy=f"it is {_spell(hint)}"
    )


def _spell(hint: Any) -> str:
    """A type in words a user of TOML knows."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"a list, each item {_spell(arguments[0])}"
    if origin is tuple:
        return f"a list of {len(arguments)}, each item {_spell(arguments[0])}"
    if origin is not None:
        return f"a table, each value {_spell(arguments[-1])}"
    if dataclasses.is_dataclass(hint):
        return "a table"
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
    return words.get(hint, str(hint))
