"""One turn of an agent: its command run to the end, and what the server counted meanwhile."""

from __future__ import annotations

import os
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from live_server import LiveServer

MODEL = "agent"
QUESTION = "What does notes.txt say?"
SECONDS = 200
NOWHERE = "http://127.0.0.1:9"  # nothing listens there, so an agent reaches this machine only
HERE = "127.0.0.1,localhost"
PROXIES = {"HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE, "NO_PROXY": HERE}


@dataclass(frozen=True)
class Turn:
    """What the agent printed, and its requests by route and class of status."""

    output: str
    requests: Mapping[tuple[str, str], int]
    prompt_tokens: int
    cached_tokens: int


@dataclass(frozen=True)
class Agents:
    """Where they are installed, what they talk to, where they work and what is their home."""

    binaries: Path
    server: LiveServer
    workspace: Path
    home: Path

    def turn(self, command: str, *arguments: str, variables: Mapping[str, str]) -> Turn:
        """Run an agent to its end, which must be a good one, with little but `variables` in its environment."""
        if (version := self._run(command, "--version")).returncode:
            pytest.skip(f"npm has brought no {command} that runs here: {version.stderr or version.stdout}")
        requests, (prompt, cached) = self._requests(), self._tokens()
        done = self._run(command, *arguments, **variables)
        assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
        prompt_after, cached_after = self._tokens()
        return Turn(done.stdout, self._requests() - requests, prompt_after - prompt, cached_after - cached)

    def _run(self, command: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        proxies = {**PROXIES, **{name.lower(): value for name, value in PROXIES.items()}}
        return subprocess.run(
            [self.binaries / command, *arguments],
            cwd=self.workspace,
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), **proxies, **variables},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def _requests(self) -> Counter[tuple[str, str]]:
        families = text_string_to_metric_families(self.server.get("/metrics")[1])
        samples = [sample for family in families for sample in family.samples if sample.name == "http_requests_total"]
        return Counter({(one.labels["handler"], one.labels["status"]): int(one.value) for one in samples})

    def _tokens(self) -> tuple[int, int]:
        """Tokens of prompts, and those of them that were cached."""
        queries, hits = (self.server.metric(f"vllm:prefix_cache_{name}_total") for name in ("queries", "hits"))
        return int(queries), int(hits)
