"""lm-eval's local-completions: its figures for three local tasks equal those computed through LLM directly."""

from __future__ import annotations

import json
import math
import os
import subprocess
from pathlib import Path
from typing import Any

os.environ.update(OPENAI_API_KEY="key", HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import lm_eval
import pytest
from lm_eval.tasks import TaskManager

from tests.clients.conftest import MODEL

HERE = Path(__file__).parent
SUMS = [(12, 30), (7, 5), (40, 41), (100, 11), (3, 9), (250, 50), (61, 8), (19, 19), (90, 90), (44, 2)]
QUESTION = "<|user|>Add {{a}} and {{b}}.<|end|><|assistant|>"
TASKS: dict[str, dict[str, Any]] = {
    "choice": {
        "output_type": "multiple_choice",
        "doc_to_text": QUESTION,
        "doc_to_choice": "{{choices}}",
        "doc_to_target": "{{label}}",
        "target_delimiter": "",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    },
    "rolling": {
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "{{text}}",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
    "generate": {
        "output_type": "generate_until",
        "doc_to_text": QUESTION,
        "doc_to_target": "{{answer}}",
        "generation_kwargs": {"until": ["<|end|>"], "max_gen_toks": 40, "do_sample": False},
        "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
    },
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, base_url: str, demo: Path) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "sums.json"
    data.write_text(json.dumps([document(a, b) for a, b in SUMS]))
    for name, task in TASKS.items():
        described = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data)}}}
        text = json.dumps({**described, "test_split": "test", "metadata": {"version": 1}, **task})
        (folder / f"{name}.yaml").write_text(text)  # JSON is YAML
    return lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": MODEL, "base_url": f"{base_url}/completions", "tokenizer": str(demo), "num_concurrent": 4,
            "max_length": 512, "max_retries": 1, "tokenized_requests": True,
        },
        tasks=list(TASKS),
        task_manager=TaskManager(include_path=str(folder), include_defaults=False),
        batch_size=4, log_samples=True, bootstrap_iters=0,
    )  # fmt: skip


def document(a: int, b: int) -> dict[str, Any]:
    choices = [f"{a} + {b} = {a + b + off}" for off in (0, 1, 10)]
    answer = choices[0]
    return {"a": a, "b": b, "choices": choices, "label": 0, "answer": answer, "text": f"Add {a} and {b}. {answer}"}


@pytest.fixture(scope="module")
def direct(results: dict[str, Any], pytestconfig: pytest.Config) -> dict[str, list[float]]:
    """The same requests through LLM, in an interpreter that has jaxpaged."""
    asked = {
        "choice": [list(pair) for sample in results["samples"]["choice"] for pair in texts(sample)],
        "rolling": [["", *text] for sample in results["samples"]["rolling"] for text in texts(sample)],
        "generate": [[text[0], ""] for sample in results["samples"]["generate"] for text in texts(sample)],
    }
    command = [pytestconfig.getoption("--server-python"), str(HERE / "score_directly.py")]
    run = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout.splitlines()[-1])


def texts(sample: dict[str, Any]) -> list[list[str]]:
    """What a sample asked of the model, without generation settings."""
    arguments = sample["arguments"]
    groups = arguments.values() if isinstance(arguments, dict) else arguments
    return [[part for part in (g.values() if isinstance(g, dict) else g) if isinstance(part, str)] for g in groups]


def test_the_model_prefers_right_sums(results: dict[str, Any]) -> None:
    assert results["results"]["choice"]["acc,none"] >= 0.9
    assert results["results"]["generate"]["exact_match,none"] >= 0.9


def test_choices_are_scored_as_directly(results: dict[str, Any], direct: dict[str, list[float]]) -> None:
    served = [response[0] for sample in results["samples"]["choice"] for response in sample["filtered_resps"]]
    assert served == pytest.approx(direct["choice"], abs=1e-4)
    rows = [direct["choice"][i : i + 3] for i in range(0, len(direct["choice"]), 3)]
    accuracy = sum(row[0] == max(row) for row in rows) / len(rows)
    assert results["results"]["choice"]["acc,none"] == pytest.approx(accuracy)


def test_perplexity_is_the_direct_one(results: dict[str, Any], direct: dict[str, list[float]]) -> None:
    words = sum(len(document(a, b)["text"].split()) for a, b in SUMS)
    expected = math.exp(-sum(direct["rolling"]) / words)
    assert results["results"]["rolling"]["word_perplexity,none"] == pytest.approx(expected, rel=1e-4)


def test_generations_are_the_direct_ones(results: dict[str, Any], direct: dict[str, list[str]]) -> None:
    served = [sample["filtered_resps"][0] for sample in results["samples"]["generate"]]
    assert served == direct["generate"]
