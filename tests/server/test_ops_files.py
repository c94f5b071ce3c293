"""The dashboard and the alert rules ask for metrics that exist, with labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.server.harness import client

pytestmark = pytest.mark.anyio
OPS = Path(__file__).resolve().parents[2] / "server" / "ops"
DASHBOARD = json.loads((OPS / "grafana_dashboard.json").read_text())
RULES = yaml.safe_load((OPS / "prometheus_rules.yml").read_text())
_METRIC = re.compile(r"\b(?:vllm|jaxpaged):\w+")
_MATCHERS = re.compile(r"((?:vllm|jaxpaged):\w+)\{([^}]*)\}")
TARGET_LABELS = {"instance", "job", "le"}


def rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def expressions() -> Iterator[str]:
    yield from (target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())
    yield from (variable["query"] for variable in DASHBOARD["templating"]["list"])


async def served() -> dict[str, set[str]]:
    """Sample name -> its labels, as /metrics shows them."""
    found: dict[str, set[str]] = {}
    async with client() as http:
        await http.post("/v1/completions", json={"prompt": "hello", "max_tokens": 2})
        for family in text_string_to_metric_families((await http.get("/metrics")).text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_expression_names_metrics_that_are_served() -> None:
    known = await served()
    asked = {name for expression in expressions() for name in _METRIC.findall(expression)}
    assert len(asked) > 20
    assert asked - set(known) == set()


async def test_every_matcher_and_grouping_names_labels_that_are_there() -> None:
    known = await served()
    for expression in expressions():
        for name, matchers in _MATCHERS.findall(expression):
            assert set(re.findall(r"(\w+)\s*[=!]~?", matchers)) <= known[name], expression
        for labels in re.findall(r"by \(([^)]*)\)", expression):
            names = set(_METRIC.findall(expression))
            for label in labels.split(", "):
                assert all(label in known[name] for name in names), expression


def test_expressions_are_balanced_and_rates_are_of_counters() -> None:
    for expression in expressions():
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
        for name in re.findall(r"(?:rate|increase)\(((?:vllm|jaxpaged):\w+)", expression):
            assert name.endswith(("_total", "_bucket", "_sum", "_count")), expression


def test_records_are_used_by_the_name_they_have() -> None:
    records = {rule["record"] for rule in rules() if "record" in rule}
    used = {name for rule in rules() for name in re.findall(r"\bmodel:[\w:]+", rule["expr"])}
    assert used <= records


def test_alerts_say_what_is_wrong() -> None:
    alerts = [rule for rule in rules() if "alert" in rule]
    assert len(alerts) >= 8
    for alert in alerts:
        assert alert["labels"]["severity"] in ("critical", "warning")
        assert alert["annotations"]["summary"].endswith(".")


def test_panels_do_not_overlap() -> None:
    taken: dict[tuple[int, int], str] = {}
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert taken.setdefault((x, y), panel["title"]) == panel["title"]
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
