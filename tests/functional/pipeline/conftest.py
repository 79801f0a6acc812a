"""The lab as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ofctl.sandbox.ovs import PrivateOvs
from tests.functional.pipeline.lab import Lab


@pytest.fixture
def lab(ovs: PrivateOvs) -> Iterator[Lab]:
    """A bridge of the test's own, secure and empty."""
    lab = Lab(ovs)
    yield lab
    lab.close()
