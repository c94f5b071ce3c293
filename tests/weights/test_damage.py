"""Every way to damage a checkpoint is refused in one sentence that names the file or the tensor."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxpaged.config import ModelConfig
from jaxpaged.errors import ConfigError
from jaxpaged.hub.model_directory import resolve_model
from jaxpaged.sharding.mesh import make_mesh
from jaxpaged.weights.loader import load_weights
from tests.weights import tiny_llama

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
SECOND = "model-00002-of-00003.safetensors"
GATE = "model.layers.1.mlp.gate_proj.weight"
NORM = "model.norm.weight"

Damage = Callable[[Path], object]


def header(change: Callable[[dict], None]) -> Damage:  # type: ignore[type-arg]
    """Change the parsed header of the single file."""

    def damage(directory: Path) -> None:
        fields, data = tiny_llama.read_raw(directory / SINGLE)
        change(fields)
        tiny_llama.write_raw(directory / SINGLE, json.dumps(fields), [data])

    return damage


def field(tensor: str, key: str, value: object) -> Damage:
    return header(lambda fields: fields[tensor].update({key: value}))


def raw(change: Callable[[bytes], bytes], name: str = SINGLE) -> Damage:
    """Change the bytes of a file."""
    return lambda directory: (directory / name).write_bytes(change((directory / name).read_bytes()))


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    """Write the single file again from changed tensors."""

    def damage(directory: Path) -> None:
        given = tiny_llama.tensors()
        change(given)
        tiny_llama.write_file(directory / SINGLE, given)

    return damage


def index(change: Callable[[dict[str, str]], object]) -> Damage:
    """Change the index of a checkpoint of three files."""

    def damage(directory: Path) -> None:
        (directory / SINGLE).unlink()
        tiny_llama.write(directory, tiny_llama.tensors(), 3)
        content = json.loads((directory / INDEX).read_text())
        change(content["weight_map"])
        (directory / INDEX).write_text(json.dumps(content))

    return damage


def both(first: Damage, second: Damage) -> Damage:
    return lambda directory: (first(directory), second(directory))


def poke(tensor: str, value: float) -> Damage:
    return tensors(lambda given: given[tensor].reshape(-1).__setitem__(-1, value))


def shift(fields: dict, by: int) -> None:  # type: ignore[type-arg]
    fields[GATE]["data_offsets"] = [offset + by for offset in fields[GATE]["data_offsets"]]


def duplicate_key(content: bytes) -> bytes:
    length = int.from_bytes(content[:8], "little")
    text = content[8 : 8 + length].decode()
    entry = json.dumps({NORM: json.loads(text)[NORM]})[1:-1]
    text = "{" + entry + "," + text[1:]
    return len(text).to_bytes(8, "little") + text.encode() + content[8 + length :]


def rewrite(name: str, text: str) -> Damage:
    return lambda directory: (directory / name).write_text(text)


def bin_only(directory: Path) -> None:
    (directory / SINGLE).rename(directory / "pytorch_model.bin")


def plain(directory: Path) -> None:
    """An index that is not damaged, to break a shard of it."""
    index(lambda _: None)(directory)


HALF = raw(lambda content: content[: len(content) // 2])
CASES: dict[str, tuple[Damage, str]] = {
    "truncated data": (HALF, rf"{SINGLE} is truncated: model\."),
    "one byte short": (raw(lambda content: content[:-1]), rf"{SINGLE} is truncated: model\.layers\.2"),
    "truncated header": (raw(lambda content: content[:100]), f"{SINGLE} is truncated or no safetensors file"),
    "empty file": (raw(lambda _: b""), f"{SINGLE} is truncated or no safetensors file"),
    "header of 2^63 bytes": (
        raw(lambda content: (2**63).to_bytes(8, "little") + content[8:]),
        f"{SINGLE} is truncated or no safetensors file: 9223372036854775808",
    ),
    "header is not JSON": (raw(lambda c: c[:8] + b"#" * 64 + c[72:]), f"{SINGLE} has a broken safetensors header"),
    "header is a list": (lambda d: tiny_llama.write_raw(d / SINGLE, "[1, 2]", []), f"{SINGLE} .* not a JSON object"),
    "header is not UTF-8": (raw(lambda c: c[:9] + b"\xff\xfe" + c[11:]), f"{SINGLE} has a broken safetensors header"),
    "trailing bytes": (raw(lambda content: content + b"\0" * 3), f"{SINGLE} has 3 bytes after its last tensor"),
    "duplicate key": (raw(duplicate_key), rf"{SINGLE} .*model\.norm\.weight occurs twice"),
    "overlap": (header(lambda fields: shift(fields, -4)), rf"{SINGLE}: {GATE} overlaps"),
    "hole": (header(lambda fields: shift(fields, 4)), rf"{SINGLE}: {GATE} .*leaves a hole"),
    "negative offset": (
        header(lambda fields: shift(fields, -(10**6))),
        rf"{SINGLE}: {GATE} has a broken shape or offsets",
    ),
    "beyond the file": (header(lambda fields: shift(fields, 10**9)), f"{SINGLE} is truncated: {GATE} ends"),
    "offsets of a float": (
        field(NORM, "data_offsets", [0.0, 128.0]),
        f"{SINGLE}: {NORM} has a broken shape or offsets",
    ),
    "shape against bytes": (field(NORM, "shape", [33]), rf"{SINGLE}: {NORM} of shape \[33\] .* takes 132 bytes"),
    "negative shape": (field(NORM, "shape", [-32]), f"{SINGLE}: {NORM} has a broken shape"),
    "dtype against bytes": (field(NORM, "dtype", "BF16"), f"{SINGLE}: {NORM} .* takes 64 bytes"),
    "unknown dtype": (field(NORM, "dtype", "F4"), f"{SINGLE}: {NORM} has the dtype F4"),
    "unreadable dtype of the right size": (
        header(lambda fields: fields[NORM].update(dtype="C64", shape=[16])),
        f"{SINGLE}: {NORM} has the dtype C64; readable are BOOL",
    ),
    "dtype of the future": (field(NORM, "dtype", "F128"), f"{SINGLE}: {NORM} has the dtype F128; readable are BOOL"),
    "metadata is no text": (
        header(lambda fields: fields.update(__metadata__={"format": 3})),
        f"{SINGLE} has a broken safetensors header .*string",
    ),
    "header promises more than the file holds": (
        raw(lambda content: (len(content)).to_bytes(8, "little") + content[8:]),
        f"{SINGLE} is truncated or no safetensors file",
    ),
    "header one byte short": (
        raw(lambda c: (int.from_bytes(c[:8], "little") - 1).to_bytes(8, "little") + c[8:]),
        f"{SINGLE} has a broken safetensors header",
    ),
    "dtype is no name": (field(NORM, "dtype", ["F32"]), f"{SINGLE}: {NORM} has the dtype"),
    "entry is no object": (header(lambda fields: fields.update({NORM: 7})), f"{SINGLE}: {NORM} has the dtype None"),
    "missing tensor": (tensors(lambda given: given.pop(GATE)), rf"1 tensor missing \({GATE}\)"),
    "extra tensor": (tensors(lambda g: g.update(more=np.ones(3, np.float32))), r"1 tensor unexpected \(more\)"),
    "a layer too many": (
        tensors(lambda given: given.update({GATE.replace("1", "7"): given[GATE]})),
        r"1 tensor unexpected \(model\.layers\.7\.mlp\.gate_proj\.weight\)",
    ),
    "a bias too many": (
        tensors(lambda g: g.update({"model.layers.0.self_attn.q_proj.bias": np.ones(32, np.float32)})),
        r"1 tensor unexpected \(model\.layers\.0\.self_attn\.q_proj\.bias\)",
    ),
    "transposed tensor": (tensors(lambda given: given.update({GATE: given[GATE].T.copy()})), rf"{GATE}: \[32, 48\]"),
    "integer tensor": (tensors(lambda g: g.update({NORM: g[NORM].astype(np.int32)})), rf"{NORM}: int32"),
    "NaN": (poke(GATE, np.nan), rf"NaN or infinity in {GATE}"),
    "infinity": (poke(NORM, -np.inf), rf"NaN or infinity in {NORM}"),
    "NaN in the vocabulary": (
        poke("model.embed_tokens.weight", np.nan),
        r"NaN or infinity in model\.embed_tokens\.weight",
    ),
    "index names a missing shard": (both(plain, lambda d: (d / SECOND).unlink()), f"{SECOND} is missing, but {INDEX}"),
    "index leaves the directory": (
        index(lambda weight_map: weight_map.update({NORM: "../x.safetensors"})),
        rf"{INDEX} puts {NORM} into '\.\./x\.safetensors'",
    ),
    "index names an absolute path": (
        index(lambda weight_map: weight_map.update({NORM: "/x.safetensors"})),
        f"{INDEX} puts {NORM} into '/x.safetensors'",
    ),
    "index names a number": (index(lambda weight_map: weight_map.update({NORM: 3})), f"{INDEX} puts {NORM} into 3"),  # type: ignore[dict-item]
    "index names the wrong shard": (index(lambda m: m.update({GATE: m[NORM]})), f"{INDEX} puts {GATE} into"),
    "index lists too much": (
        index(lambda m: m.update(more=SECOND)),
        f"{INDEX} and its shards disagree: more is listed",
    ),
    "index lists too little": (
        index(lambda weight_map: weight_map.pop(NORM)),
        f"{INDEX} and .*: {NORM} is in model-0000",
    ),
    "index without a map": (both(plain, rewrite(INDEX, "{}")), f"{INDEX} has no weight_map"),
    "index is not JSON": (both(plain, rewrite(INDEX, "{")), f"{INDEX} cannot be read as JSON"),
    "a truncated shard": (both(plain, raw(lambda c: c[:-9], SECOND)), rf"{SECOND} is truncated: model\.layers"),
    "the same tensor twice": (
        lambda d: ((bin_only(d), [tiny_llama.write_file(d / f"{n}.safetensors", tiny_llama.tensors()) for n in "ab"])),
        r"lm_head\.weight is in both .*a\.safetensors and .*b\.safetensors",
    ),
    "no weights": (lambda d: (d / SINGLE).unlink(), r"holds no \*\.safetensors file; download the model's weights"),
    "no torch file": (bin_only, r"pytorch_model\.bin is truncated or no file of torch\.save"),
    "weights of another kind": (
        lambda d: (d / SINGLE).rename(d / "tf_model.h5"),
        r"holds no \*\.safetensors file; tf_model\.h5 is of a kind that is not read",
    ),
    "the maker's weights only": (
        lambda d: (d / SINGLE).rename(d / "consolidated.safetensors"),
        "only weights in the form of the model's maker",
    ),
    "an adapter's weights only": (
        lambda d: (d / SINGLE).rename(d / "adapter_model.safetensors"),
        "only the weights of an adapter",
    ),
    "a directory in place of the file": (
        lambda d: ((d / SINGLE).unlink(), (d / "x.safetensors").mkdir()),
        r"x\.safetensors cannot be read",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_damage_is_refused(tmp_path: Path, name: str) -> None:
    damage, message = CASES[name]
    directory = tiny_llama.write(tmp_path / "model", tiny_llama.tensors())

    def load() -> None:
        found = resolve_model(ModelConfig(model=str(directory)))
        load_weights(found, tiny_llama.decoder(), tiny_llama.RULES, make_mesh(1), progress=False)

    load()  # so that what follows fails for its own reason
    damage(directory)
    with pytest.raises(ConfigError, match=message) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_every_bad_tensor_is_counted(tmp_path: Path) -> None:
    given = tiny_llama.tensors()
    for tensor in given.values():
        tensor.reshape(-1)[0] = np.nan
    directory = tiny_llama.write(tmp_path, given, 3)
    with pytest.raises(ConfigError, match=rf"and {len(given) - 8} more"):
        load_weights(directory, tiny_llama.decoder(), tiny_llama.RULES, make_mesh(1), progress=False)
