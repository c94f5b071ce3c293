"""Marks for tests of what the server cannot do yet (pending.py)."""

from __future__ import annotations

import pytest

from tests.clients.pending import PENDING


def needs(*capabilities: str) -> pytest.MarkDecorator:
    """Mark a test, or one case of it, that passes as soon as the server has all of these."""
    missing = sorted(PENDING.intersection(capabilities))
    return pytest.mark.xfail(bool(missing), reason=f"pending: {', '.join(missing)}", strict=True)
