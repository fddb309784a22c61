"""A page of figures that commands write: each command owns one marked section of it.

What lies outside a command's markers is another command's or a writer's, and stays as it is.
"""

from __future__ import annotations

import platform
import re
import subprocess
import tempfile
from pathlib import Path

from deal_cli.engine.backends import hardware
from deal_cli.errors import OutputError

DEFAULT = "deal"  # weights whose sections bear no name
TITLE = "# Benchmarks\n\nWritten by the commands named below, not by hand.\n"


def write_section(path: Path, name: str, markdown: str) -> None:
    """Replace the section `name` of a Markdown page, or add it at the end.

    A section lies between `<!-- name -->` and `<!-- /name -->`. The page appears whole or not at
    all.

    Args:
        path: the page; it is made, with its folder, where there is none.
        name: the section's name.
        markdown: the section's new text.

    Raises:
        OutputError: the page cannot be read or written, or one of the two markers is missing.
    """
    try:
        page = path.read_text(encoding="utf-8") if path.exists() else TITLE
    except (OSError, UnicodeDecodeError) as error:
        raise OutputError(f"cannot be read: {error}", file=path, remedy="move it away") from error
    _write_whole(path, _with_section(page, name, markdown, path))


def section_of(topic: str, weights: str) -> tuple[str, str]:
    """The name and the heading of a topic's section for some weights: each has one of its own."""
    title = topic.capitalize()
    if weights == DEFAULT:
        return topic, f"## {title}"
    return f"{topic} {re.sub('[^A-Za-z0-9._-]', '_', weights)}", f"## {title} with `{weights}`"


def describe_machine() -> str:
    """Return the operating system's and the processor's names and the number of usable cores."""
    processor = f"{hardware.cpu_name()}, {hardware.physical_cores()} cores"
    return f"{processor}, {platform.system()}, Python {platform.python_version()}"


def commit_of(folder: Path) -> str:
    """Return the commit a folder is checked out at, `-dirty` behind it where files differ.

    Outside a checkout, or without Git, it is `unknown`.
    """
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return result.stdout.strip()


def _with_section(page: str, name: str, markdown: str, path: Path) -> str:
    """Return the page with the section's text replaced or added."""
    opening, closing = f"<!-- {name} -->", f"<!-- /{name} -->"
    section = f"{opening}\n{markdown.strip()}\n{closing}"
    start, end = page.find(opening), page.find(closing)
    if start < 0 and end < 0:
        return f"{page.rstrip()}\n\n{section}\n"
    if start < 0 or end < start:
        raise OutputError(
            f"the section {name} lacks one of its markers",
            file=path,
            remedy=f"put {opening} before it and {closing} after it",
        )
    return page[:start] + section + page[end + len(closing) :]


def _write_whole(path: Path, text: str) -> None:
    """Write a text file under a temporary name and rename it."""
    temporary: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", newline="\n", dir=path.parent, prefix=".deal-", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(text)
        temporary.chmod(path.stat().st_mode if path.exists() else 0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise OutputError(
            f"cannot be written: {error.strerror}", file=path, remedy="choose a writable folder"
        ) from error
