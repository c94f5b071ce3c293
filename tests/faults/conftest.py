"""Faults of reliability table 2. Every test runs on asyncio and under a hard timeout.

Here: F1 F20 F21 test_load, F2 F3 F19 test_pressure, F8 F9 test_stages, F13 F15 test_start, F18 test_clock.
Elsewhere: F1 server/test_disconnect, F4 server/test_sockets, F5 F6 engine_process/test_process and test_real_server,
F7 server/test_real_server, F11 engine/test_exhaustion and test_independence, F13 weights/test_damage, F14
engine/test_faults, F15 text/test_tokenizer, F16 engine/test_compile_cache, F21 engine/test_no_compile.
"""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(300))
