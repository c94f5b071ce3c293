"""Loading a tokenizer and generation defaults from a model directory, and what is said when that cannot be done."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.frontend.generation_config import load_generation_config
from jaxpaged.frontend.model_files import read_front_end
from jaxpaged.text.tokenizer import check_vocabulary, load_tokenizer
from tests.text.samples import EOS, byte_level_backend, hf_tokenizer, model_directory


def test_a_tokenizer_is_loaded_from_a_directory(tmp_path) -> None:
    tokenizer = load_tokenizer(model_directory(tmp_path))
    assert tokenizer.encode("hello world") == hf_tokenizer().encode("hello world")
    assert tokenizer.eos_token == EOS
    assert load_tokenizer(tmp_path, chat_template="{{ 1 }}").chat_template == "{{ 1 }}"


def test_a_directory_without_a_tokenizer_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match="holds no tokenizer"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"model": {"type": "none"}}'])
def test_a_broken_tokenizer_is_refused(tmp_path, content) -> None:
    (model_directory(tmp_path) / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_code_in_a_directory_is_never_run(tmp_path) -> None:
    config = json.loads((model_directory(tmp_path) / "tokenizer_config.json").read_text())
    config |= {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "tokenizer_class": "Evil"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text("open('ran', 'w')\nclass Evil: pass\n")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_tokenizer(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_tokenizer_larger_than_the_logits_is_refused() -> None:
    size = byte_level_backend().get_vocab_size(with_added_tokens=False)
    check_vocabulary(hf_tokenizer(), size)
    with pytest.raises(ConfigError, match=f"{size} tokens but the model only {size - 1} logits"):
        check_vocabulary(hf_tokenizer(), size - 1)


@pytest.mark.parametrize(
    ("generation", "config", "tokenizer_eos", "eos"),
    [
        ({"eos_token_id": [7, 5]}, {"eos_token_id": 1}, 5, (5, 7)),
        ({"eos_token_id": 7}, {}, 2, (2, 7)),
        ({}, {"eos_token_id": 1}, None, (1,)),
        ({}, {"text_config": {"eos_token_id": [1, 3]}}, None, (1, 3)),
        (None, {}, None, ()),
    ],
)
def test_end_tokens_come_from_every_place_that_names_them(tmp_path, generation, config, tokenizer_eos, eos) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    if generation is not None:
        (tmp_path / "generation_config.json").write_text(json.dumps(generation))
    assert load_generation_config(tmp_path, tokenizer_eos=tokenizer_eos).eos_token_ids == eos


def test_sampling_defaults_come_from_generation_config(tmp_path) -> None:
    generation = {"temperature": 0.6, "top_k": 20, "top_p": None, "max_new_tokens": 99, "do_sample": True}
    model_directory(tmp_path, generation=generation)
    front_end = read_front_end(ModelConfig(), tmp_path)
    assert front_end.generation.sampling == {"temperature": 0.6, "top_k": 20, "max_tokens": 99}
    assert read_front_end(ModelConfig(generation_config="vllm"), tmp_path).generation.sampling == {}
    assert read_front_end(ModelConfig(skip_tokenizer_init=True), tmp_path).tokenizer is None


@pytest.mark.parametrize("content", ["{", "[1]"])
def test_a_broken_generation_config_is_refused(tmp_path, content) -> None:
    (tmp_path / "generation_config.json").write_text(content)
    with pytest.raises(ConfigError, match="fetch the file again"):
        load_generation_config(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "phi3", "rope_scaling": {"type": "su", "short_factor": [1.0], "long_factor": [1.0]}},
        {"model_type": "llama", "hidden_size": "many"},
        {"model_type": "llama", "rope_scaling": {"type": "spiral"}},
        {"model_type": "of_a_fine_tune", "auto_map": {"AutoConfig": "evil.Evil"}},
        {"model_type": 7},
        {},
    ],
)
def test_a_config_that_transformers_refuses_is_no_reason_to_refuse_the_tokenizer(tmp_path, config) -> None:
    (model_directory(tmp_path) / "config.json").write_text(json.dumps(config))
    assert load_tokenizer(tmp_path).encode("hello world") == hf_tokenizer().encode("hello world")


TWO_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

from jaxpaged.text.tokenizer import load_tokenizer

barrier = Barrier(2)

def load(directory):
    barrier.wait()
    return load_tokenizer(Path(directory)).encode("hello")

with ThreadPoolExecutor(2) as pool:
    first, second = pool.map(load, [sys.argv[1]] * 2)
assert first == second
"""


def test_two_threads_load_their_first_tokenizer_at_once(tmp_path) -> None:
    """The front end and the grammars' vocabulary do, where a model has no tokenizer.json."""
    done = subprocess.run([sys.executable, "-c", TWO_AT_ONCE, str(model_directory(tmp_path))], capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
