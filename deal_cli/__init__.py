"""DEAL: restoration of thermal infrared pictures by data-efficient adversarial learning.

For programs (docs/python.md):

    import deal_cli as deal

    restorer = deal.open_restorer()
    restored = restorer(counts)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deal_cli.api import Restorer as Restorer
    from deal_cli.api import open_restorer as open_restorer
    from deal_cli.api import read as read
    from deal_cli.api import restore_files as restore_files
    from deal_cli.api import write as write
    from deal_cli.errors import DealError as DealError
    from deal_cli.imaging.frame import Frame as Frame

__version__ = "0.1.0"

_PUBLIC = {
    "Restorer": "deal_cli.api",
    "open_restorer": "deal_cli.api",
    "read": "deal_cli.api",
    "restore_files": "deal_cli.api",
    "write": "deal_cli.api",
    "Frame": "deal_cli.imaging.frame",
    "DealError": "deal_cli.errors",
}


def __getattr__(name: str) -> Any:
    """The public names, imported when they are first asked for: `deal --help` needs none."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'deal_cli' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
