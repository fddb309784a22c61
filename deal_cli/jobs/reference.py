"""The reference page, from the program itself: what can be typed, set, read, written and returned.

`python -m deal_cli.jobs.reference docs/reference.md` writes it. Commands come from the command
line's own objects, settings and exit codes from their dataclasses and docstrings, formats from the
tables that readers and writers use; a test makes the page again and compares.
"""

from __future__ import annotations

import dataclasses
import inspect
import pkgutil
import re
import sys
import types
import typing
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import typer

from deal_cli.config import TrainConfig
from deal_cli.engine.fixed_pattern import pattern
from deal_cli.errors import DealError, ExitCode, UsageError
from deal_cli.imaging import grey
from deal_cli.imaging.contents import Contents, picture_suffix
from deal_cli.imaging.files import (
    COMPRESSIONS,
    DEFAULT_COMPRESSION,
    PICTURE_SUFFIXES,
    check_target,
    written_whole,
)
from deal_cli.imaging.formats import jpeg
from deal_cli.imaging.frame import Frame
from deal_cli.imaging.radiometry import calibration as radiometric
from deal_cli.imaging.video.clip_files import STACK_SUFFIXES
from deal_cli.imaging.video.codecs import CODECS, CONTAINERS, DEFAULT_CODEC
from deal_cli.imaging.video.reader import VIDEO_SUFFIXES
from deal_cli.jobs.degrade import sidecar
from deal_cli.jobs.train import run_folder
from deal_cli.model import onnx_facts, weights
from deal_cli.networks import NETWORKS, BlockConfig, NetworkConfig

HEAD = """\
# Reference

Written by `python -m deal_cli.jobs.reference docs/reference.md`, not by hand.
What the words mean and when to use what: [tutorial.md](tutorial.md), [recipes.md](recipes.md) and \
the other pages.

- [Commands](#commands)
- [Settings of a training](#settings-of-a-training)
- [Files](#files)
- [Exit codes](#exit-codes)
- [Environment](#environment)
"""

SETTINGS = """\
`deal train --config FILE.toml` reads these keys; what a file leaves out keeps its default, and \
flags come last.
An unknown key is an error that names the nearest known one.
A training that starts from weights takes its network from `[network]` as well: the two must agree.
Without `[network]` the network is the preset `deal`, with its gauge and matrices; what a \
`[network]` leaves out is as its table below has it, so without them.
The resolved settings are written to `config.toml` in the run's folder and into the weights \
themselves.
"""

FILES = """\
What a picture or a video is, its content says; what is written, the suffix.
A picture is written in the dtype that it was read in.
[files.md](files.md) and [video.md](video.md) say which kinds of pixels are refused and what \
survives beside them.
"""

#: Environment variables that the program itself reads.
ENVIRONMENT = {
    "HF_TOKEN": "Token of the Hugging Face Hub, for `deal weights pull` alone; none that is kept "
    "elsewhere is used.",
    "OMP_NUM_THREADS": "Threads to compute with, where they are to be fewer than the processor's "
    "cores.",
    "WORLD_SIZE": "Set by `torchrun`: how many processes train together.",
    "LOCAL_RANK": "Set by `torchrun`: which of the machine's GPUs this process takes.",
}

#: What each suffix of a picture stands for.
FORMATS = {
    ".png": "PNG",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".bmp": "BMP",
    ".npy": "NumPy",
}

_BITS = {
    "uint8": "8 bits",
    "uint16": "16 bits",
    "int16": "int16",
    "float32": "float32",
    "float64": "float64",
}
_WORDS = {str: "text", int: "whole number", float: "number", Path: "path", bool: "true or false"}


def reference(app: typer.Typer) -> str:
    """The whole page, as Markdown; the same whatever machine or terminal makes it.

    Args:
        app: the command line.
    """
    parts = (
        HEAD,
        f"## Commands\n\n{_commands(app)}",
        f"## Settings of a training\n\n{SETTINGS}\n{_settings()}",
        f"## Files\n\n{FILES}\n{_files()}",
        f"## Exit codes\n\n{_exit_codes()}",
        f"## Environment\n\n{_table(('variable', 'meaning'), _environment())}",
    )
    return "\n\n".join(part.strip() for part in parts) + "\n"


def attributes(cls: type) -> dict[str, str]:
    """What the "Attributes:" of a class's docstring say of each, in one line."""
    _, _, listed = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    listed = re.split(r"^\S", listed, maxsplit=1, flags=re.MULTILINE)[0]
    found = re.findall(r"^    (\w+): (.*(?:\n {5,}.*)*)", listed, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _commands(app: typer.Typer) -> str:
    """Every command with its arguments and options."""
    group: Any = typer.main.get_command(app)
    helps = " or ".join(f"`{name}`" for name in group.context_settings["help_option_names"])
    parts = [
        f"{group.help}\n{helps} after any command prints its help.",
        _table(
            ("command", "what it does"),
            (
                (f"[`deal {name}`](#deal-{name.replace(' ', '-')})", command.help)
                for name, command in _leaves(group)
            ),
        ),
        _parameters(group),
    ]
    for name, command in _leaves(group):
        shown = [parameter for parameter in command.params if not parameter.hidden]
        usage = [f"deal {name}", *(_usage(p) for p in shown if _is_argument(p))]
        if any(not _is_argument(p) for p in shown):
            usage.insert(1, "[OPTIONS]")
        heading = f"### `deal {name}`\n\n{command.help}\n\n    {' '.join(usage)}"
        parts += [heading, _parameters(command)]
    return "\n\n".join(part for part in parts if part)


def _leaves(group: Any, above: str = "") -> Iterator[tuple[str, Any]]:
    """Every command of a group with its whole name, also those of groups within it."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _leaves(command, f"{above}{name} ")
        else:
            yield f"{above}{name}", command


def _is_argument(parameter: Any) -> bool:
    return bool(parameter.param_type_name == "argument")


def _usage(argument: Any) -> str:
    shown = f"{argument.metavar}{'...' if argument.nargs < 0 else ''}"
    return shown if argument.required else f"[{shown}]"


def _parameters(command: Any) -> str:
    """The table of a command's arguments and options; nothing where it has none."""
    hints = typing.get_type_hints(inspect.unwrap(command.callback))
    rows = []
    for parameter in command.params:
        if parameter.hidden:
            continue
        if _is_argument(parameter):
            names = f"`{parameter.metavar}`"
        else:
            sides = (parameter.opts, parameter.secondary_opts)
            names = " / ".join(", ".join(f"`{name}`" for name in side) for side in sides if side)
        rows.append((names, _takes(parameter, hints), _default(parameter), parameter.help))
    return _table(("option", "takes", "default", "meaning"), rows) if rows else ""


def _takes(parameter: Any, hints: Mapping[str, Any]) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    if parameter.metavar and not _is_argument(parameter):
        return f"`{parameter.metavar}`"
    return _type(hints[parameter.name])


def _default(parameter: Any) -> str:
    """What holds where an option is not given, as its help says it."""
    if parameter.required:
        return "required"
    if isinstance(parameter.show_default, str):
        return parameter.show_default
    if parameter.default is None or getattr(parameter, "is_eager", False):
        return ""
    if isinstance(parameter.default, bool):
        return "yes" if parameter.default else "no"
    default = parameter.default
    return f"`{default.as_posix() if isinstance(default, Path) else default}`"


def _type(hint: Any) -> str:
    """A type in plain words."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return _type(next(kind for kind in inner if kind is not types.NoneType))
    if origin is list:
        return f"{_type(inner[0])}, several"
    if origin is tuple and inner[0] is BlockConfig:
        return "tables"
    if origin is tuple:
        return f"{_type(inner[0])}s" if inner[-1] is ... else f"{len(inner)} {_type(inner[0])}s"
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"table of {_type(inner[1])}s"
    return _WORDS[hint]


def _settings() -> str:
    """Every key of a training's TOML file."""
    hints = typing.get_type_hints(TrainConfig)
    tables = {name: cls for name, cls in hints.items() if hasattr(cls, "__dataclass_fields__")}
    parts = ["### At the top of the file", _keys(TrainConfig, leave_out=frozenset(tables))]
    for name, cls in tables.items():
        parts += [f"### `[{name}]`", _about(cls), _keys(cls)]
        if cls is NetworkConfig:
            parts += ["### `[[network.blocks]]`", _about(BlockConfig), _keys(BlockConfig)]
            parts += ["The presets:", _presets()]
    return "\n\n".join(parts)


def _about(cls: type) -> str:
    """What a docstring says before its attributes, without the places in the code."""
    text = (inspect.getdoc(cls) or "").partition("Attributes:")[0]
    return re.sub(r" \(`[^`]*\.py`\)", "", " ".join(text.split()))


def _keys(cls: Any, leave_out: frozenset[str] = frozenset()) -> str:
    hints, meanings = typing.get_type_hints(cls), attributes(cls)
    fields = [field for field in dataclasses.fields(cls) if field.name not in leave_out]
    rows = ((f"`{f.name}`", _type(hints[f.name]), _value_of(f), meanings[f.name]) for f in fields)
    return _table(("key", "type", "default", "meaning"), rows)


def _value_of(field: Any) -> str:
    """The default of a field."""
    if field.default_factory is not dataclasses.MISSING:
        table = field.default_factory()
        return ", ".join(f"`{key}` {value:g}" for key, value in table.items())
    return "required" if field.default is dataclasses.MISSING else _value(field.default)


def _value(value: Any) -> str:
    if isinstance(value, tuple) and value and isinstance(value[0], BlockConfig):
        return ", ".join(_block(block) for block in value)
    if isinstance(value, tuple):
        return ", ".join(_value(part) for part in value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else f"{value:.6g}"


def _block(block: BlockConfig) -> str:
    """A block in short, such as "STM (5, 3, column 33)"."""
    more = [
        f"{key} {getattr(block, key)}" for key in ("dilation", "column") if getattr(block, key) > 1
    ]
    sizes = [str(block.kernel_in), str(block.kernel_out), *more]
    return f"{block.kind.upper()} ({', '.join(sizes)})"


def _presets() -> str:
    keys = [field.name for field in dataclasses.fields(NetworkConfig)]
    rows = [
        (f"`{key}`", *(_value(getattr(network, key)) for network in NETWORKS.values()))
        for key in keys
    ]
    return _table(("key", *(f"`{name}`" for name in NETWORKS)), rows)


def _files() -> str:
    """What is read and written: pictures, many frames, videos, and the program's own files."""
    stack = " ".join(f"`{suffix}`" for suffix in STACK_SUFFIXES)
    counts = f"`{picture_suffix(Contents(maker='FLIR'))}`; FLIR's with `--unit celsius` as float32"
    makers = " and ".join(radiometric.MAKERS)
    tiffs = f"{', '.join(COMPRESSIONS)} ({DEFAULT_COMPRESSION} by default), all lossless"
    notes = (
        f"- TIFFs are written with `--compression` {tiffs}.",
        f"- JPEG is written at quality {jpeg.QUALITY} and loses a little; the others lose nothing.",
        f"- TIFFs of many pages ({stack}) are read and written page by page.",
        f"- Radiometric JPEGs of {makers} are read for their counts, and written as {counts}.",
    )
    return "\n\n".join(
        (
            "### Pictures",
            _table(("suffix", "format", *_BITS.values()), _pictures()),
            "\n".join(notes),
            "### Videos",
            f"They need `pip install 'deal-cli[video]'`; `--codec` is {DEFAULT_CODEC} by default.",
            _table(("suffix", "read", "written with"), _videos()),
            _table(("codec", "8 bits as", "16 bits as", "sizes", "encoder's options"), _codecs()),
            "### Files of its own",
            _table(("file", "suffix", "format", "written by", "read by"), _own_files()),
        )
    )


def _pictures() -> Iterator[tuple[str, ...]]:
    for suffix in PICTURE_SUFFIXES:
        holds = ("yes" if _held(name, suffix) else "no" for name in grey.DTYPES)
        yield f"`{suffix}`", FORMATS[suffix], *holds


def _held(dtype: str, suffix: str) -> bool:
    try:
        check_target(Frame(np.zeros((1, 1), np.float32), np.dtype(dtype)), suffix)
    except UsageError:
        return False
    return True


def _videos() -> Iterator[tuple[str, ...]]:
    for suffix in dict.fromkeys((*VIDEO_SUFFIXES, *CONTAINERS)):
        codecs = (f"`{name}`" for name, codec in CODECS.items() if suffix in codec.suffixes)
        yield (
            f"`{suffix}`",
            "yes" if suffix in VIDEO_SUFFIXES else "no",
            ", ".join(codecs) or "not written",
        )


def _codecs() -> Iterator[tuple[str, ...]]:
    for name, codec in CODECS.items():
        pixels = (f"`{p}`" if (p := codec.pixels.get(key)) else "no" for key in ("uint8", "uint16"))
        options = ", ".join(f"{key} {value}" for key, value in codec.options.items())
        yield f"`{name}`", *pixels, "even" if codec.even else "any", options


def _own_files() -> Iterator[tuple[str, ...]]:
    train, restore, degrade = "`deal train`", "`deal restore`", "`deal degrade`"
    tensors = "`.safetensors`"
    many = f"{restore}, `deal evaluate`, `deal bench`, `deal demo` (`--weights`)"
    more = f"{many}, `deal export` (`--weights`), {train} (`--init`)"
    yield "enhancer", tensors, f"`{weights.ENHANCER_FORMAT}`", train, more
    yield "its graph", "`.onnx`", f"`{onnx_facts.FORMAT}`", "`deal export`", many
    yield "generator", tensors, f"`{weights.GENERATOR_FORMAT}`", train, f"{degrade} (`--weights`)"
    yield "tone predictor", tensors, f"`{weights.TONE_FORMAT}`", train, "beside its enhancer"
    state = f"`{run_folder.STATE_FORMAT}`"
    yield "state of a training", tensors, state, train, f"{train} (`--resume`)"
    kept = f"{restore} (`--save-pattern`)"
    yield "fixed pattern", tensors, f"`{pattern.FORMAT}`", kept, f"{restore} (`--pattern`)"
    yield "sidecar", "`.json`", f"`{sidecar.FORMAT}`", degrade, f"{degrade} (`--replay`)"
    line = f"`{radiometric.LINE.strip()}`"
    yield "calibration", "last line of a TIFF's description", line, restore, restore
    yield "settings", "`.toml`", "TOML", train, f"{train} (`--config`)"
    yield "list of inputs", "any", "a path a line", "", f"{restore}, {degrade} (`@FILE`)"
    yield "page", "`.html`", "HTML", f"{restore} (`--report`), `deal report`, `deal demo`", ""


def _exit_codes() -> str:
    meanings, causes = attributes(ExitCode), {code: list[str]() for code in ExitCode}
    for cls in DealError.__subclasses__():
        causes[cls.exit_code].append((inspect.getdoc(cls) or "").partition("\n")[0])
    rows = ((str(c.value), meanings[c.name], " ".join(causes[c])) for c in ExitCode)
    return _table(("code", "meaning", "such as"), rows)


def _environment() -> Iterator[tuple[str, str]]:
    for name, meaning in ENVIRONMENT.items():
        yield f"`{name}`", meaning


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    cells = (" | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in r) for r in lines)
    return "\n".join(f"| {line} |" for line in cells)


def main(arguments: Sequence[str]) -> None:
    """Write the page that is named, or tell it where none is."""
    # The command line lies above this room, so it is found by its name, as Python's own tools do.
    text = reference(pkgutil.resolve_name("deal_cli.cli.app:app"))
    if not arguments:
        sys.stdout.write(text)
        return
    with written_whole(Path(arguments[0])) as stream:
        stream.write(text.encode())


if __name__ == "__main__":
    main(sys.argv[1:])
