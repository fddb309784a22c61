"""What commands say of the engine they run on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deal_cli.engine.backends.choice import Choice
    from deal_cli.engine.backends.contract import Facts


def chosen(choice: Choice, facts: Facts) -> str:
    """The backend that was chosen, and why, and the weights, in one line."""
    return (
        f"deal: {facts.backend} backend ({choice.reason}): {facts.device}, {facts.precision}"
        f" ({facts.note}), weights {facts.weights} {facts.sha256[:12]}"
    )
