"""jaxpaged doctor: a report for bug reports, whatever is broken."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jaxpaged.cli.main import main
from jaxpaged.hub.model_directory import BUNDLED_MODEL

ROOT = Path(__file__).resolve().parents[2]


def doctor(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    assert main(["doctor", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_machine_and_what_a_model_would_be(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    report = doctor(capsys, str(BUNDLED_MODEL), "--max-model-len", "512", "--compile-cache-dir", str(tmp_path))
    assert {"jaxpaged", "python", "jax", "jaxlib", "memory"} <= report["programs"].keys()
    assert report["devices"]["devices"][0].startswith("0: ")
    assert {"attention", "a step", "a page"} <= report["devices"].keys()
    assert str(tmp_path) in report["caches"]["compiled"]
    model = report["model"]
    assert (model["architecture"], model["dtype"]) == ("Qwen3ForCausalLM", "bfloat16")
    assert model["served context"].startswith("512 tokens: as --max-model-len says")
    assert "problem" not in model
    assert "tensors" in model["weights"]
    assert "chat template" in model["tokenizer"]
    assert model["pool"].startswith("at most ")


def broken(folder: Path, how: str) -> list[str]:
    """A copy of the bundled model with one thing wrong, and the flags to name it."""
    model = folder / "model"
    shutil.copytree(BUNDLED_MODEL, model)
    match how:
        case "config":
            (model / "config.json").unlink()
        case "json":
            (model / "config.json").write_text("{")
        case "architecture":
            config = json.loads((model / "config.json").read_text())
            (model / "config.json").write_text(json.dumps({**config, "architectures": ["NobodysForCausalLM"]}))
        case "weights":
            for path in model.glob("*.safetensors"):
                path.write_bytes(path.read_bytes()[:1000])
        case "missing":
            return [str(folder / "missing")]
        case "memory":
            return [str(model), "--num-gpu-blocks-override", "100000000"]
        case "devices":
            return [str(model), "-tp", "64"]
        case "context":
            return [str(model), "--max-model-len", "1M"]
    return [str(model)]


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("config", "config.json"),
        ("json", "cannot be read as JSON"),
        ("architecture", "NobodysForCausalLM"),
        ("weights", ".safetensors"),
        ("missing", "does not exist"),
        ("memory", "num_gpu_blocks_override"),
        ("devices", "devices"),
        ("context", "max_model_len"),
    ],
)
def test_what_is_broken_is_the_problem_and_the_rest_is_told(
    how: str, says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    report = doctor(capsys, *broken(tmp_path, how))
    assert says in report["model"]["problem"]
    assert "\n" not in report["model"]["problem"]
    assert report["devices"]["devices"]


def test_flags_that_contradict_each_other_are_a_problem_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(capsys, "m", "--kv-cache-dtype", "fp8")["flags"]["problem"].startswith("--kv-cache-dtype fp8 cannot")
    assert main(["doctor", "m", "--block-size", "33"]) == 0
    assert "problem          block_size is 33" in capsys.readouterr().out


def test_no_secret_is_told_and_no_other_variable(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("JAXPAGED_API_KEY", "HF_TOKEN", "HF_HOME_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_OWN"):
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("JAXPAGED_LAYER_LOOP", "scan")
    report = doctor(capsys)
    assert "hush" not in json.dumps(report)
    assert report["variables"]["JAXPAGED_LAYER_LOOP"] == "scan"
    assert "MY_OWN" not in report["variables"]
    assert "model" not in report


def test_without_devices_the_rest_is_told() -> None:
    command = [sys.executable, "-m", "jaxpaged", "doctor", str(BUNDLED_MODEL), "--json"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={**os.environ, "JAX_PLATFORMS": "tpux"})
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    assert "no devices" in report["devices"]["problem"]
    assert report["model"]["architecture"] == "Qwen3ForCausalLM"
    assert "tpux" in report["model"]["problem"]
