"""The checkpoint of the comparison: the same weights and tokens in both formats; random tokens are plain text."""

import random
from pathlib import Path
from types import MappingProxyType

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.checkpoint import CONFIG, write_checkpoint, write_gguf
from benchmarks.tokenizer import SPECIAL, vocabulary
from jaxpaged.gguf.checkpoint import checkpoint_tensors
from jaxpaged.gguf.files import find_parts, read_model
from jaxpaged.text.tokenizer import load_tokenizer

SMALL = MappingProxyType(
    {
        **CONFIG,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "vocab_size": 36_900,
    }
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = write_checkpoint(tmp_path_factory.mktemp("model"), SMALL)
    write_gguf(made)
    return made


def test_both_formats_hold_the_same_weights(directory: Path) -> None:
    wanted = load_file(directory / "model.safetensors")
    found = checkpoint_tensors(read_model(find_parts(directory / "model.gguf")))
    assert found.keys() == wanted.keys()
    for name, tensor in found.items():
        assert np.array_equal(np.asarray(tensor.read()).astype(ml_dtypes.bfloat16), wanted[name]), name


def test_random_tokens_are_plain_text(directory: Path) -> None:
    tokenizer = load_tokenizer(directory)
    tokens = vocabulary(SMALL["vocab_size"])
    assert len(set(tokens)) == len(tokens) == SMALL["vocab_size"]
    rng = random.Random(0)
    ids = [rng.randrange(len(SPECIAL) + 256, 36_800) for _ in range(300)]
    assert tokenizer.decode(ids) == "".join(tokens[index] for index in ids).replace("Ġ", " ")
    assert tokenizer.encode(" fox") == [tokens.index("Ġfox")]
