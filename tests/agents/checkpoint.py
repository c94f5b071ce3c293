"""A checkpoint whose next token is a function of the last, made without training.

Its template ends a prompt with a token that says what comes next: a call of the tool by which an agent reads a file or,
once a result shows what the file says, the answer. The layer between embedding and head is all zeros.
"""

from __future__ import annotations

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
from tokenizers import AddedToken, Tokenizer

from tests.engine.tiny import llama_shapes, write

DEMO = Path(__file__).resolve().parents[2] / "jaxpaged" / "assets" / "demo"
SECRET = "heron"  # hermes.jinja looks for it in results
ANSWER = f"The file says: {SECRET}."
CONTEXT = 65536
CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "dtype": "float32",
    "hidden_size": 32,  # no fewer than tokens that have a successor
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "max_position_embeddings": CONTEXT,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "eos_token_id": 4,
    "pad_token_id": 0,
}
SURE = 10.0  # weight of the head; logits are sqrt(32) times that


def rows_of_tokens(file: Path) -> list[list[str]]:
    """Tokens that follow one another; the first ends a prompt."""
    end, call_end = "<|end|>", "}}\n</tool_call>"
    path = json.dumps(str(file))
    return [
        ["<|assistant|>", "A title", end],  # what agents ask without tools
        ["<|answer|>", "The file", " says: ", f"{SECRET}.", end],
        ["<|Read|>", '<tool_call>\n{"name": "Read"', ', "arguments": {"file_path": ', path, call_end, end],
        ["<|read|>", '<tool_call>\n{"name": "read"', ', "arguments": {"filePath": ', path, call_end, end],
        [
            *("<|exec_command|>", '<tool_call>\n{"name": "exec_command"', ', "arguments": {"cmd": '),
            *(json.dumps(f"cat {file}"), call_end, end),
        ],
    ]


def write_checkpoint(directory: Path, file: Path) -> Path:
    """The directory of a model that reads `file` and tells what it says."""
    rows = rows_of_tokens(file)
    tokenizer = Tokenizer.from_file(str(DEMO / "tokenizer.json"))
    tokenizer.add_special_tokens([row[0] for row in rows])
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for row in rows for piece in row[1:-1]])
    config = {**CONFIG, "vocab_size": tokenizer.get_vocab_size()}
    ids = [[tokenizer.token_to_id(piece) for piece in row] for row in rows]
    write(directory, config, tensors_of(config, dict(pair for row in ids for pair in pairwise(row))))
    tokenizer.save(str(directory / "tokenizer.json"))
    settings = json.loads((DEMO / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": CONTEXT}))
    shutil.copy(Path(__file__).with_name("hermes.jinja"), directory / "chat_template.jinja")
    return directory


def tensors_of(config: dict[str, object], following: dict[int, int]) -> dict[str, np.ndarray]:
    """Weights that make `following[token]` the next token."""
    tensors = {name: np.full(shape, float("norm" in name), np.float32) for name, shape in llama_shapes(config).items()}
    for dimension, (token, successor) in enumerate(following.items()):
        tensors["model.embed_tokens.weight"][token, dimension] = 1
        tensors["lm_head.weight"][successor, dimension] = SURE
    return tensors
