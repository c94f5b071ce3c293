"""Records the reference of tests/engine/test_beam_parity.py: transformers' beam search on some of the tiny checkpoints.

    python scripts/make_beam_goldens.py

Needs what make_goldens.py needs. Weights are made from each tensor's name; tests/goldens/beams.json holds tokens and
scores only. A prompt is taken only if float32 and float64 choose the same tokens, so that rounding cannot.
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from make_goldens import load_reference
from tests.models.case import GOLDENS, VOCAB, load_golden
from tests.models.cases import CASE

CHECKPOINTS = {"llama": (23, 1), "gemma3": (37, 1), "gpt2": (9, 2), "bloom": (30, 3)}  # prompt length, stop tokens
WIDTHS = range(1, 9)
PENALTIES = (-1.0, 0.0, 1.0, 2.0)
MAX_TOKENS = 20
FEWEST_EARLY = 4  # of the 32 searches of a prompt, those with an answer that ends by a stop token before another one
SEEDS = range(200)


def search(model: PreTrainedModel, prompt: list[int], eos: list[int], width: int, penalty: float) -> list[dict]:
    """All `width` answers, best first; the padding behind a stop token is cut."""
    ids = torch.tensor([prompt])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        num_beams=width,
        num_return_sequences=width,
        length_penalty=penalty,
        early_stopping=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=eos,
        pad_token_id=VOCAB - 1,
        return_dict_in_generate=True,
        output_scores=True,
    )
    scores = out.sequences_scores.tolist() if width > 1 else [greedy_score(out, len(prompt), eos, penalty)]
    answers = [cut(tokens, eos) for tokens in out.sequences[:, len(prompt) :].tolist()]
    return [{"tokens": tokens, "score": score} for tokens, score in zip(answers, scores, strict=True)]


def cut(tokens: list[int], eos: list[int]) -> list[int]:
    ends = [index for index, token in enumerate(tokens) if token in eos]
    return tokens[: ends[0] + 1] if ends else tokens


def greedy_score(out, prompt_len: int, eos: list[int], penalty: float) -> float:
    """transformers calls one beam greedy search, which has no score."""
    tokens = cut(out.sequences[0, prompt_len:].tolist(), eos)
    logprobs = [
        torch.log_softmax(step[0].float(), -1)[token].item() for step, token in zip(out.scores, tokens, strict=False)
    ]
    return sum(logprobs) / len(tokens) ** penalty


def record(model: PreTrainedModel, exact: PreTrainedModel, prompt: list[int], eos: list[int]) -> list[dict] | None:
    """Every width and penalty, or None where rounding could decide or hardly anything ends early."""
    searches, early = [], 0
    for width in WIDTHS:
        for penalty in PENALTIES:
            answers = search(model, prompt, eos, width, penalty)
            same = search(exact, prompt, eos, width, penalty)
            if [each["tokens"] for each in answers] != [each["tokens"] for each in same]:
                return None
            early += len({len(each["tokens"]) for each in answers}) > 1
            searches.append({"width": width, "length_penalty": penalty, "answers": answers})
    return searches if early >= FEWEST_EARLY else None


def find(name: str, prompt_len: int, num_stop_tokens: int) -> dict:
    case = CASE[name]
    with tempfile.TemporaryDirectory() as folder:
        model = load_reference(case, load_golden(case).tensors, Path(folder))
        exact = load_reference(case, load_golden(case).tensors, Path(folder)).double()
    for seed in SEEDS:
        prompt = np.random.default_rng(seed).integers(0, VOCAB, prompt_len).tolist()
        free = search(model, prompt, [], 4 if seed % 2 else 1, 1.0)[0]["tokens"]
        eos = sorted(set(free[MAX_TOKENS // 2 :][:num_stop_tokens]))  # tokens that do come
        searches = record(model, exact, prompt, eos)
        if searches is not None:
            return {"case": name, "digest": case.digest(), "prompt": prompt, "eos": eos, "searches": searches}
    raise SystemExit(f"{name}: no prompt has telling beams")


def main() -> None:
    found = []
    for name, (prompt_len, num_stop_tokens) in CHECKPOINTS.items():
        found.append(find(name, prompt_len, num_stop_tokens))
        greedy = found[-1]["searches"][0]["answers"][0]["tokens"]
        other = sum(each["answers"][0]["tokens"] != greedy for each in found[-1]["searches"])
        print(f"{name}: stop tokens {found[-1]['eos']}, {other} of {len(found[-1]['searches'])} differ from greedy")
    path = GOLDENS / "beams.json"
    path.write_text(json.dumps({"max_tokens": MAX_TOKENS, "prompts": found}, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
