"""Names that users have written down stay: public_names.json lists those of the first recording, and none may go."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

import jaxpaged
import server.batches.__main__
import server.flags
from jaxpaged.cli.main import ROOT, Group, Program
from server.app import build_app
from tests.server.harness import async_llm

RECORDED = json.loads(Path(__file__).with_name("public_names.json").read_text())
PROGRAMS = {"server": server.flags.add_arguments, "server.batches": server.batches.__main__.add_arguments}


def commands(group: Group, above: str = "") -> Iterator[tuple[str, Callable[[argparse.ArgumentParser], None]]]:
    """Each command of `jaxpaged` and what adds its flags to a parser."""
    for name, command in group.commands.items():
        if isinstance(command, Group):
            yield from commands(command, f"{above}{name} ")
        elif isinstance(command, Program):
            yield above + name, PROGRAMS[command.module]
        else:
            yield above + name, command.add_arguments


def test_names_of_the_package() -> None:
    assert set(RECORDED["names"]) - set(jaxpaged.__all__) == set()


@pytest.mark.parametrize("command", RECORDED["flags"])
def test_flags(command: str) -> None:
    parser = argparse.ArgumentParser()
    dict(commands(ROOT))[command](parser)
    assert set(RECORDED["flags"][command]) - set(parser._option_string_actions) == set()


def test_routes_and_metrics() -> None:
    llm = async_llm()
    routes = iter_route_contexts(build_app(llm).routes)
    found = {f"{method} {route.path}" for route in routes for method in route.methods or ()}
    metrics = re.findall(r"^# TYPE (\S+)", llm.metrics.text().decode(), re.MULTILINE)
    llm.shutdown()
    assert set(RECORDED["routes"]) - found == set()
    assert set(RECORDED["metrics"]) - set(metrics) == set()
