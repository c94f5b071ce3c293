"""schemathesis over everything that /openapi.json describes: all phases, both modes, no operation left out.

One check is off: that all data of the right types are accepted. What goes together (n and temperature, a message's role
and a template) is no matter of types.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.clients.conftest import KEY

EXAMPLES = 25


@pytest.mark.timeout(1500)
@pytest.mark.parametrize("mode", ["positive", "negative"])
def test_nothing_breaks_it(url: str, mode: str, tmp_path: Path) -> None:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {KEY}", "--header", f"x-api-key: {KEY}"]
    command += ["--mode", mode, "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(EXAMPLES)]
    command += ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--continue-on-failure"]
    command += ["--request-timeout", "120", "--seed", "1", "--workers", "4", "--report", "ndjson"]
    command += ["--report-ndjson-path", str(tmp_path / "events.ndjson")]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1490)
    assert run.returncode == 0, run.stdout[-20_000:] + run.stderr[-2000:]
    assert_idle(url)


def assert_idle(url: str) -> None:
    """It is well, and nothing is left running."""
    for path in ("/health", "/metrics"):
        request = urllib.request.Request(f"{url}{path}", headers={"x-api-key": KEY})
        with urllib.request.urlopen(request, timeout=5) as answer:
            text = answer.read().decode()
    gauges = [line for line in text.splitlines() if line.startswith("vllm:num_requests_running{")]
    assert [float(line.rpartition(" ")[2]) for line in gauges] == [0.0]


def test_every_error_is_described(url: str) -> None:
    request = urllib.request.Request(f"{url}/openapi.json", headers={"x-api-key": KEY})
    with urllib.request.urlopen(request, timeout=5) as answer:
        document = json.load(answer)
    for path, item in document["paths"].items():
        for method, operation in item.items():
            needs_key = path not in ("/", "/health", "/ready")
            expected = {"400", "404", "405", "413", "415", "500", "503"} | ({"401"} if needs_key else set())
            assert expected <= set(operation["responses"]), (path, method)
            assert bool(operation.get("security")) == needs_key, (path, method)
