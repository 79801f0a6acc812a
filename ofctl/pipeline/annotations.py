"""The keys of the fields that apps add to ports."""

from __future__ import annotations

from collections.abc import Sequence


def annotations_of(app: str, annotations: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return one app's annotations by their own names, out of all those of a port."""
    prefix = f"{app}/"
    return {key[len(prefix) :]: value for key, value in annotations if key.startswith(prefix)}
