"""The files of the bundled demo model: a Hugging Face directory with config, tokenizer, chat template and weights."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from demo_model.tasks import conversation
from jaxpaged.decoder.functional import FunctionalDecoder, Leaves

ENDOFTEXT, SYSTEM, USER, ASSISTANT, END = range(5)
SPECIAL_TOKENS = ["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"]
CONFIG = {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "dtype": "bfloat16",
    "vocab_size": 1280,
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_hidden_layers": 6,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 64,
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "attention_bias": False,
    "tie_word_embeddings": True,
    "eos_token_id": END,
    "pad_token_id": ENDOFTEXT,
}


CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set role = 'system' if message.role == 'developer' else message.role -%}
{%- if role not in ['system', 'user', 'assistant'] -%}
{{- raise_exception('The demo model knows the roles system, user and assistant, not ' ~ role ~ '.') -}}
{%- endif -%}
{{- '<|' ~ role ~ '|>' ~ message.content ~ '<|end|>' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}
"""
GENERATION = {"do_sample": True, "temperature": 0.2, "eos_token_id": [END, ENDOFTEXT], "pad_token_id": ENDOFTEXT}


def train_tokenizer(rng: Random) -> Tokenizer:
    """Byte-level BPE on a sample of the training text; digits stay single so that sums can be learnt."""
    tokenizer = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=CONFIG["vocab_size"],
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    examples = (example for _ in range(8000) for example in conversation(rng, 4)[1])
    tokenizer.train_from_iterator((text for e in examples for text in (e.question, e.answer)), trainer)
    assert tokenizer.get_vocab_size() == CONFIG["vocab_size"]
    return tokenizer


def save_tokenizer(tokenizer: Tokenizer, out: Path) -> None:
    """tokenizer.json, tokenizer_config.json and chat_template.jinja, as transformers writes and reads them."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=SPECIAL_TOKENS[END],
        pad_token=SPECIAL_TOKENS[ENDOFTEXT],
        model_max_length=CONFIG["max_position_embeddings"],
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    fast.save_pretrained(out)


def hf_tensors(decoder: FunctionalDecoder, leaves: Leaves) -> dict[str, np.ndarray]:
    """The leaves under their Hugging Face names, in bfloat16: the inverse of the Qwen3 weight rules."""
    half = [np.asarray(leaf.astype(jnp.bfloat16)) for leaf in leaves]
    stored = {weight.target: leaf for weight, leaf in zip(decoder.weights, half, strict=True)}
    width = CONFIG["hidden_size"]
    tensors = {
        "model.embed_tokens.weight": stored["embedding.table"][: CONFIG["vocab_size"]],
        "model.norm.weight": stored["final_norm.weight"],
    }
    for i in range(CONFIG["num_hidden_layers"]):
        layer = {name.removeprefix("layers.{i}."): leaf[i] for name, leaf in stored.items() if "{i}" in name}
        qkv, gate_up = layer["mixer.qkv"], layer["ffn.gate_up"]
        parts = {
            "input_layernorm": layer["mixer_norm.weight"],
            "self_attn.q_proj": qkv[:, :-2].reshape(-1, width),
            "self_attn.k_proj": qkv[:, -2].reshape(-1, width),
            "self_attn.v_proj": qkv[:, -1].reshape(-1, width),
            "self_attn.q_norm": layer["mixer.q_norm.weight"],
            "self_attn.k_norm": layer["mixer.k_norm.weight"],
            "self_attn.o_proj": layer["mixer.out"].reshape(width, -1),
            "post_attention_layernorm": layer["ffn_norm.weight"],
            "mlp.gate_proj": gate_up[:, 0].reshape(-1, gate_up.shape[-1]),
            "mlp.up_proj": gate_up[:, 1].reshape(-1, gate_up.shape[-1]),
            "mlp.down_proj": layer["ffn.down"],
        }
        tensors |= {f"model.layers.{i}.{name}.weight": part for name, part in parts.items()}
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def save_model(decoder: FunctionalDecoder, leaves: Leaves, out: Path) -> None:
    save_file(hf_tensors(decoder, leaves), out / "model.safetensors", metadata={"format": "pt"})
    for name, content in {"config.json": CONFIG, "generation_config.json": GENERATION}.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")
