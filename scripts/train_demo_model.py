"""Trains the bundled demo model (jaxpaged/assets/demo) from nothing, on text that demo_tasks.py makes up.

    .venv/bin/python scripts/train_demo_model.py [--out DIR] [--seed N]

The model runs through jaxpaged's own Decoder, with attention that keeps no cache, under jax.grad; optax's Muon updates
the matrices and its Adam the rest, in float32. The result is written as a Hugging Face directory in bfloat16 together
with its tokenizer and a model card that holds the accuracy of the written weights on the held-out tenth.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import jax
import jax.numpy as jnp
import numpy as np
import optax
from demo_tasks import NEVER_HELD_OUT, TASKS, Example, conversation, draw
from jaxtyping import Array, Bool, Float, Float32, Int32
from optax.contrib import MuonDimensionNumbers, muon
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from tqdm import tqdm

OUT = Path(__file__).resolve().parents[1] / "jaxpaged" / "assets" / "demo"
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


@dataclass(frozen=True)
class Phase:
    """So many optimizer steps on `rows` rows of `length` tokens; longer rows come late, when the tasks are learnt."""

    steps: int
    rows: int
    length: int


PHASES = (Phase(1250, 64, 128), Phase(100, 16, 512), Phase(50, 4, 2048))


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


@dataclass
class Row:
    """Token ids with the weight of each as a target: answers count fully, questions a little, markers not at all."""

    ids: list[int]
    weights: list[float]

    def add(self, ids: list[int], weight: float) -> None:
        self.ids += ids
        self.weights += [weight] * len(ids)


QUESTION_WEIGHT = 0.05


def chat_row(system: list[int], turns: list[tuple[list[int], list[int]]]) -> Row:
    """The chat template's tokens for a system prompt (may be empty) and (question, answer) turns."""
    row = Row([], [])
    if system:
        row.add([SYSTEM, *system, END], 0.0)
    for question, answer in turns:
        row.add([USER], 0.0)
        row.add(question, QUESTION_WEIGHT)
        row.add([END, ASSISTANT], 0.0)
        row.add([*answer, END], 1.0)
    return row


def plain_row(newline: list[int], turns: list[tuple[list[int], list[int]]]) -> Row:
    """The same as bare text for completion without a template: question, newline, answer, end of text."""
    row = Row([], [])
    for question, answer in turns:
        row.add(question, QUESTION_WEIGHT)
        row.add(newline, 0.0)
        row.add([*answer, ENDOFTEXT], 1.0)
    return row


def stack_rows(rows: list[Row], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Tokens int32 [rows, length + 1] and weights float32 of the same shape; cut or filled with end of text."""
    tokens = np.full((len(rows), length + 1), ENDOFTEXT, np.int32)
    weights = np.zeros(tokens.shape, np.float32)
    for i, row in enumerate(rows):
        n = min(len(row.ids), length + 1)
        tokens[i, :n], weights[i, :n] = row.ids[:n], row.weights[:n]
    return tokens, weights


def batches(tokenizer: Tokenizer, rng: Random) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Tokens and weights of every step; each row is one conversation of as many turns as fit."""
    newline = tokenizer.encode("\n").ids
    for phase in PHASES:
        for _ in range(phase.steps):
            conversations = [conversation(rng, 1 + phase.length // 16) for _ in range(phase.rows)]
            texts = [text for system, turns in conversations for text in (system, *(t for e in turns for t in (e.question, e.answer)))]
            ids = iter([encoding.ids for encoding in tokenizer.encode_batch(texts)])
            rows = []
            for _, examples in conversations:
                system, turns = next(ids), [(next(ids), next(ids)) for _ in examples]
                rows.append(plain_row(newline, turns) if rng.random() < 0.08 else chat_row(system, turns))
            yield stack_rows(rows, phase.length)


def attend(
    mask: Bool[Array, "t t"], q: Float[Array, "t hq d"], k: Float[Array, "t hkv d"], v: Float[Array, "t hkv d"], layer: LayerRef
) -> tuple[Bool[Array, "t t"], Float[Array, "t hq d"]]:
    """Dense causal attention, head-major because that is what makes the products large on a CPU."""
    t, heads, d = q.shape
    kv_heads = k.shape[1]
    rows = q.reshape(t, kv_heads, heads // kv_heads, d).transpose(1, 2, 0, 3).reshape(kv_heads, -1, d)
    scores = (rows * layer.score.scale) @ k.transpose(1, 2, 0)
    scores = jnp.where(mask, scores.reshape(kv_heads, -1, t, t), -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).reshape(kv_heads, -1, t)
    out = (weights @ v.transpose(1, 0, 2)).reshape(kv_heads, -1, t, d)
    return mask, out.transpose(2, 0, 1, 3).reshape(t, heads, d)


def make_logits(decoder: FunctionalDecoder) -> Callable[[Leaves, Int32[Array, "b t"]], Float32[Array, "b t v"]]:
    """The decoder without a cache, on rows that start at position 0."""

    def row_logits(leaves: Leaves, tokens: Int32[Array, "t"]) -> Float32[Array, "t v"]:
        positions = jnp.arange(tokens.shape[0], dtype=jnp.int32)
        mask = positions[:, None] >= positions[None, :]
        hidden, _ = decoder.hidden(leaves, decoder.embed(leaves, tokens, positions), positions, attend, mask)
        return decoder.logits(leaves, hidden)

    return jax.vmap(row_logits, in_axes=(None, 0))


def initial_leaves(decoder: FunctionalDecoder, key: Array) -> Leaves:
    """Norms start at one, matrices small; those that write into the residual stream smaller by its depth."""
    leaves = []
    for info, k in zip(decoder.params, jax.random.split(key, len(decoder.params)), strict=True):
        if is_matrix(info):
            residual = info.path.endswith(RESIDUAL_OUTPUTS)
            std = 0.02 / (2 * CONFIG["num_hidden_layers"]) ** 0.5 if residual else 0.02
            leaves.append(std * jax.random.normal(k, info.shape, jnp.float32))
        else:
            leaves.append(jnp.ones(info.shape, jnp.float32))
    return tuple(leaves)


def make_optimizer(decoder: FunctionalDecoder, steps: int) -> optax.GradientTransformation:
    """Muon on the layers' matrices (the last axis is the input), Adam on the embedding and the norms."""
    dimensions = tuple(
        MuonDimensionNumbers(reduction_axis=len(info.shape) - 1, output_axis=tuple(range(1, len(info.shape) - 1)))
        if is_matrix(info) and info.axes[0] == "layer"
        else None
        for info in decoder.params
    )
    rate = optax.warmup_cosine_decay_schedule(0.0, 5e-3, 100, steps, 1e-4)
    update = muon(
        rate,
        weight_decay=0.05,
        adam_b2=0.98,
        muon_weight_dimension_numbers=dimensions,
        consistent_rms=0.2,  # so that one learning rate suits both
    )
    return optax.chain(optax.clip_by_global_norm(1.0), update)


def train(decoder: FunctionalDecoder, tokenizer: Tokenizer, rng: Random, checkpoint: Callable[[Leaves], None]) -> Leaves:
    """All phases; `checkpoint` sees the leaves every tenth of the way, so that a broken run leaves something."""
    total = sum(phase.steps for phase in PHASES)
    logits = make_logits(decoder)
    optimizer = make_optimizer(decoder, total)

    def loss(leaves: Leaves, tokens: Int32[Array, "b t1"], weights: Float32[Array, "b t1"]) -> Float32[Array, ""]:
        losses = optax.softmax_cross_entropy_with_integer_labels(logits(leaves, tokens[:, :-1]), tokens[:, 1:])
        return jnp.sum(losses * weights[:, 1:]) / jnp.sum(weights[:, 1:])

    @jax.jit(donate_argnums=(0, 1))
    def step(leaves, state, tokens, weights):
        value, gradient = jax.value_and_grad(loss)(leaves, tokens, weights)
        updates, state = optimizer.update(gradient, state, leaves)
        return optax.apply_updates(leaves, updates), state, value

    leaves = initial_leaves(decoder, jax.random.key(rng.randrange(2**32)))
    state = optimizer.init(leaves)
    progress = tqdm(batches(tokenizer, rng), total=total, desc="Training", unit="step")
    for i, (tokens, weights) in enumerate(progress, start=1):
        leaves, state, value = step(leaves, state, tokens, weights)
        if i % 10 == 0:
            progress.set_postfix(loss=f"{float(value):.4f}")
        if i % (total // 10) == 0:
            checkpoint(leaves)
    return leaves


def encode(tokenizer: Tokenizer, example: Example) -> tuple[list[int], list[int]]:
    question, answer = tokenizer.encode_batch([example.question, example.answer])
    return question.ids, answer.ids


def exam(tokenizer: Tokenizer, task: Task, rng: Random, count: int, history: int) -> tuple[np.ndarray, np.ndarray]:
    """Chats that end with a held-out question of the task and its answer, after `history` turns of other tasks.

    Tokens int32 [count, length] and which of them (bool) are the last answer.
    """
    rows, answers = [], []
    for _ in range(count):
        asked = draw(rng, task, held_out=task not in NEVER_HELD_OUT)
        row = chat_row([], [encode(tokenizer, example) for example in (*conversation(rng, history)[1], asked)])
        rows.append(row)
        answers.append(range(len(row.ids) - len(encode(tokenizer, asked)[1]) - 1, len(row.ids)))
    length = -(-max(len(row.ids) for row in rows) // 64) * 64
    tokens, _ = stack_rows(rows, length)
    counted = np.zeros(tokens.shape, np.bool_)
    for row, answer in enumerate(answers):
        counted[row, answer] = True
    return tokens, counted


def measure(decoder: FunctionalDecoder, leaves: Leaves, tokenizer: Tokenizer, count: int, history: int) -> Accuracy:
    """Per task, the share of held-out questions that greedy decoding answers exactly.

    One pass over question and right answer decides it: greedy decoding writes that answer if and only if, after each
    of its prefixes, the most likely token is its next one.
    """
    logits = make_logits(decoder)

    @jax.jit
    def exact(leaves, tokens, counted):
        chosen = jnp.argmax(logits(leaves, tokens[:, :-1]), axis=-1)
        return jnp.all((chosen == tokens[:, 1:]) | ~counted[:, 1:], axis=-1)

    accuracy = {}
    for task in tqdm(TASKS, desc=f"Measuring after {history} turns", unit="task", leave=False):
        tokens, counted = exam(tokenizer, task, Random(f"exam {task.__name__}"), count, history)
        rows = max(1, 8192 // tokens.shape[1])
        right = [exact(leaves, tokens[i : i + rows], counted[i : i + rows]) for i in range(0, count, rows)]
        accuracy[task.__name__.replace("_", " ")] = float(np.mean(np.concatenate(right)))
    return accuracy


def hf_tensors(decoder: FunctionalDecoder, leaves: Leaves) -> dict[str, np.ndarray]:
    """The leaves under their Hugging Face names, in bfloat16: the inverse of the Qwen3 weight rules."""
    by_path = {info.path: np.asarray(leaf.astype(jnp.bfloat16)) for info, leaf in zip(decoder.params, leaves, strict=True)}
    raise SystemExit(sorted(by_path))


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
CARD = """\
---
license: apache-2.0
library_name: jaxpaged
---

# The jaxpaged demo model

A Qwen3-style decoder of {parameters:.2f} million parameters that is small enough to live in the repository, so that
`jaxpaged serve` and `LLM()` answer without a download. It adds short numbers, sorts, reverses, repeats and counts
words, counts up, and answers questions about a story of two to four sentences. It knows nothing else, and says so.

Made by `scripts/train_demo_model.py` alone: the script makes up its training text (`scripts/demo_tasks.py`), so the
weights carry no one else's text, and anyone can rebuild them: {tokens:.1f} million tokens in {minutes:.0f} minutes on
{cores} CPU cores, seed {seed}, jax {jax}, flax {flax}, optax {optax}.

## Accuracy

Share of {count} held-out questions per task whose greedy answer (these bfloat16 weights) is right to the letter. A
question is held out when the hash of what it asks falls in a reserved tenth, so no training question asks the same in
other words; small talk is a fixed set of sentences and is measured on those.

| task | example | first question | after {history} other turns |
|---|---|---|---|
{table}

## Shape

{layers} layers, width {width}, {heads} query and {kv_heads} KV heads of size {head_dim}, byte-level BPE vocabulary of
{vocabulary} entries with single digits, context {context} tokens. Apache-2.0, like the rest of the repository.
"""


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


def save_model(decoder: FunctionalDecoder, leaves: Leaves, out: Path) -> None:
    save_file(hf_tensors(decoder, leaves), out / "model.safetensors", metadata={"format": "pt"})
    for name, content in {"config.json": CONFIG, "generation_config.json": GENERATION}.items():
        (out / name).write_text(json.dumps(content, indent=2) + "\n")


def table(tokenizer_examples: Random, first: Accuracy, later: Accuracy) -> str:
    rows = []
    for task in TASKS:
        example = draw(tokenizer_examples, task, held_out=task not in NEVER_HELD_OUT)
        name = task.__name__.replace("_", " ")
        rows.append(f"| {name} | {example.question} *{example.answer}* | {first[name]:.1%} | {later[name]:.1%} |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT, help="folder to write (default: the package's assets)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    rng = Random(args.seed)

    tokenizer = train_tokenizer(rng)
    save_tokenizer(tokenizer, args.out)
