"""What `ofctl.plugin` offers: every header field, and nothing that belongs to the core."""

from __future__ import annotations

from ofctl import plugin
from ofctl.pipeline import fields
from ofctl.pipeline.fields import Field

CORE_ONLY = ("ct_", "conj_id", "metadata", "xxreg", "nd_reserved", "nd_options_type")


def test_apps_have_every_header_field_and_none_of_the_cores() -> None:
    everyone = {name: each for name, each in vars(fields).items() if isinstance(each, Field)}
    offered = {name for name in everyone if name in plugin.__all__}
    assert offered == {name for name, each in everyone.items() if not each.name.startswith(CORE_ONLY)}
