"""How the program ends: every error in one line, every outcome with the code it owns."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import typer

from deal_cli.errors import DealError, ExitCode

# Typer may carry a Click of its own; its errors are all children of this class.
_ClickError = typer.BadParameter.__mro__[2]


def run(app: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a command line and exit with the code the outcome owns."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a scheduler interrupts so
    try:
        code = app(args=arguments, prog_name="deal", standalone_mode=False)
    except DealError as error:
        _fail(str(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        code = ExitCode.INTERRUPTED
    except Exception as error:
        if isinstance(error, OSError) and error.filename is not None:
            cause = f"{error.filename}: {error.strerror}; check its name and permissions"
            _fail(cause, ExitCode.USAGE)
        if not isinstance(error, _ClickError):
            raise
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "deal"
        message = " ".join(error.format_message().split()).rstrip(".")  # type: ignore[attr-defined]
        message = message.replace("Value error, ", "")  # what checks the types says of itself
        if not message:  # `deal` alone has printed its help
            sys.exit(ExitCode.USAGE)
        _fail(f"{message[:1].lower()}{message[1:]}; see {command} --help", ExitCode.USAGE)
    if code == ExitCode.INTERRUPTED:  # Typer turns an interruption into this code
        _fail("interrupted; finished files are whole", ExitCode.INTERRUPTED)
    sys.exit(code if isinstance(code, int) else ExitCode.OK)


def _fail(message: str, code: ExitCode) -> None:
    sys.stderr.write(f"deal: {message}\n")
    sys.exit(code)


def fail_all(errors: Sequence[DealError]) -> None:
    """Name every error, and exit with the code of the first, if there is one."""
    for error in errors:
        typer.echo(f"deal: {error}", err=True)
    if errors:
        raise typer.Exit(errors[0].exit_code)
