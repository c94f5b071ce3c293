"""A damaged or hostile file is refused in one sentence, in no time and with no memory."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jaxpaged.errors import ConfigError, WeightError
from jaxpaged.gguf.checkpoint import checkpoint_tensors
from jaxpaged.gguf.files import find_in_directory, find_parts, read_model
from jaxpaged.gguf.header import read_header
from jaxpaged.gguf.metadata import Metadata
from jaxpaged.gguf.settings import generation_settings, model_settings
from tests.gguf import forward
from tests.gguf.test_checkpoint import config_of, weights_of, write

HEAD = b"GGUF" + struct.pack("<I", 3)
HUGE = 2**63


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def key(name: bytes, kind: int, value: bytes) -> bytes:
    return text(name) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...] = (4,), kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


def file(tensors: list[bytes], keys: list[bytes], data: int = 64) -> bytes:
    """`data`: bytes behind the header, which is padded to 32."""
    head = HEAD + struct.pack("<QQ", len(tensors), len(keys)) + b"".join(keys) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + bytes(data)


def a_list(kind: int, count: int, content: bytes = b"") -> bytes:
    return struct.pack("<IQ", kind, count) + content


BROKEN = {
    "empty": (b"", "is empty"),
    "other": (b"<!doctype html>", "is no GGUF file"),
    "short": (b"GGUF\3\0", "ends in the middle of its header"),
    "version": (b"GGUF" + bytes([0, 0, 0, 3]) + bytes(40), "has version 50331648 of the format"),
    "tensors": (HEAD + struct.pack("<QQ", HUGE, 0), "claims 9223372036854775808 tensors"),
    "keys": (HEAD + struct.pack("<QQ", 0, HUGE), "which is more than any model has"),
    "many_keys": (HEAD + struct.pack("<QQ", 0, 60000), "ends in the middle"),
    "long_text": (file([], [key(b"a", 8, struct.pack("<Q", HUGE))]), "ends in the middle"),
    "no_utf8": (file([], [key(b"a", 8, text(b"\xff"))]), "a text that is not UTF-8"),
    "value_type": (file([], [key(b"a", 77, b"")]), "a value of the unknown type 77"),
    "long_list": (file([], [key(b"a", 9, a_list(0, HUGE))]), "lists more than 8388608 values"),
    "longer_list": (file([], [key(b"a", 9, a_list(12, 8_000_000))]), "ends in the middle"),
    "list_of_texts": (file([], [key(b"a", 9, a_list(8, 8_000_000))]), "ends in the middle"),
    "list_of_lists": (file([], [key(b"a", 9, a_list(9, 1, a_list(9, 1)))]), "a value of the unknown type 9"),
    "twice": (file([], [key(b"a", 7, b"\1"), key(b"a", 7, b"\0")]), "has the key 'a' twice"),
    "tensor_twice": (file([tensor(b"t"), tensor(b"t", offset=32)], []), "has the tensor 't' twice"),
    "alignment": (file([], [key(b"general.alignment", 4, struct.pack("<I", 3))]), "alignment=3, which is no power"),
    "axes": (file([tensor(b"t", (1,) * 9)], []), "gives 't' 9 axes"),
    "no_axis": (file([tensor(b"t", ())], []), "gives 't' 0 axes"),
    "no_rows": (file([tensor(b"t", (4, 0))], []), r"gives 't' the shape \[0, 4\]"),
    "blocks": (file([tensor(b"t", (33,), kind=8)], []), "which cannot be Q8_0"),
    "kind": (file([tensor(b"t", kind=999)], []), "stores 't' as type 999, which is not read here"),
    "integers": (file([tensor(b"t", kind=24)], []), "stores 't' as I8, which is not read here"),
    "huge_tensor": (file([tensor(b"t", (HUGE, HUGE, 4))], []), "it was cut off"),
    "far_away": (file([tensor(b"t", offset=2**64 - 32)], []), "it was cut off"),
    "overlap": (file([tensor(b"t"), tensor(b"u", offset=8)], []), "has 'u' where another tensor lies"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused(tmp_path: Path, name: str) -> None:
    content, match = BROKEN[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(WeightError, match=match) as caught:
        read_header(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 1 << 22
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_is_refused_wherever_it_was_cut_off(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.gguf", "llama").read_bytes()
    path = tmp_path / "model.gguf"
    for size in [*range(0, len(whole) // 2, 997), len(whole) - 200]:
        path.write_bytes(whole[:size])
        with pytest.raises(WeightError, match="fetch the file again"):
            read_header(path)


@pytest.mark.parametrize("kind", [24, 999])
def test_what_is_whole_and_cannot_be_read_is_not_to_be_fetched_again(tmp_path: Path, kind: int) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(file([tensor(b"t", kind=kind)], []))
    with pytest.raises(WeightError, match="take the model as Q8_0 or F16") as caught:
        read_header(path)
    assert "fetch" not in str(caught.value)


def described(change: Callable[[dict[str, object]], None], tmp_path: Path) -> None:
    """Read a small Llama whose metadata was changed."""
    metadata = forward.metadata_of(config_of("llama"))
    change(metadata)
    path = forward.write(tmp_path / "model.gguf", metadata, forward.tensors_of(config_of("llama"), weights_of("llama")))
    checkpoint_tensors(read_model((path,)))


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("general.architecture", "mamba", r"architecture 'mamba'; read are bloom, gemma2, .*qwen3\."),
        ("llama.expert_count", 8, "sets llama.expert_count=8, which is not implemented"),
        ("llama.block_count", 2**31, "claims 2147483648 layers, but holds 30 tensors"),
        ("llama.embedding_length", "wide", "embedding_length='wide', where a positive integer is needed"),
        ("llama.attention.head_count", [1, 2, 3], r"head_count=\[1, 2, 3\], where a positive integer"),
        ("llama.rope.scaling.type", "new", "scales its rotary positions by 'new'"),
    ],
)
def test_a_model_that_is_not_served(tmp_path: Path, name: str, value: object, match: str) -> None:
    with pytest.raises(ConfigError, match=match) as caught:
        described(lambda metadata: metadata.update({name: value}), tmp_path)
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="context_length=None, where a positive"):
        described(lambda metadata: metadata.pop("llama.context_length"), tmp_path)


@pytest.mark.parametrize("architecture", ["phi3", "gptneox"])
def test_how_much_of_a_head_is_rotated_is_a_number(tmp_path: Path, architecture: str) -> None:
    case = {"phi3": "phi3", "gptneox": "neox_serial"}[architecture]
    metadata = forward.metadata_of(config_of(case)) | {f"{architecture}.rope.dimension_count": "all"}
    path = forward.write(tmp_path / "model.gguf", metadata, forward.tensors_of(config_of(case), weights_of(case)))
    with pytest.raises(ConfigError, match=r"rope\.dimension_count='all', where a positive integer"):
        model_settings(Metadata(read_model((path,))))


def test_a_list_ends_no_answer(tmp_path: Path) -> None:
    metadata = forward.metadata_of(config_of("llama"))
    metadata |= {"tokenizer.ggml.eos_token_id": [1, 2], "tokenizer.ggml.eot_token_id": 3}
    path = forward.write(tmp_path / "model.gguf", metadata, {"token_embd.weight": np.zeros((4, 4), np.float32)})
    assert generation_settings(Metadata(read_model((path,))))["eos_token_id"] == [3]


def test_a_tensor_under_both_of_its_names(tmp_path: Path) -> None:
    tensors = forward.tensors_of(config_of("llama"), weights_of("llama"))
    tensors["model.norm.weight"] = tensors["output_norm.weight"]
    path = forward.write(tmp_path / "model.gguf", forward.metadata_of(config_of("llama")), tensors)
    with pytest.raises(WeightError, match="which are one tensor"):
        checkpoint_tensors(read_model((path,)))


@pytest.mark.parametrize("name", ["00001-of-00000", "00000-of-00002", "00003-of-00002", "00001-of-99999"])
def test_a_part_that_is_none(tmp_path: Path, name: str) -> None:
    for number in range(3):
        (tmp_path / f"m-0000{number}-of-00002.gguf").touch()
    with pytest.raises(WeightError, match=r"calls itself part \d of \d+ files; keep the names"):
        find_parts(tmp_path / f"m-{name}.gguf")


def test_parts(tmp_path: Path) -> None:
    whole = read_header(write(tmp_path / "whole.gguf", "llama")).tensors
    metadata = forward.metadata_of(config_of("llama"))
    tensors = forward.tensors_of(config_of("llama"), weights_of("llama"))
    split = tmp_path / "split"
    split.mkdir()
    forward.write(split / "m.gguf", metadata, tensors, split_max_tensors=12)
    files = sorted(split.iterdir())
    assert [path.name for path in files] == [f"m-0000{n}-of-00003.gguf" for n in (1, 2, 3)]
    assert find_in_directory(split) == files[0]
    for file in files:  # whichever is named
        assert find_parts(file) == tuple(files)
    model = read_model(tuple(files))
    assert model.tensors.keys() == whole.keys()
    for name, found in model.tensors.items():
        np.testing.assert_array_equal(found.read(), whole[name].read())
    with pytest.raises(WeightError, match=r"is part 1 \(from 0\) of 3 files, but was read as part 0 of 1"):
        read_model((files[1].rename(tmp_path / "alone.gguf"),))
    with pytest.raises(WeightError, match=r"part of 3 files, and m-00002-of-00003\.gguf is not beside it"):
        find_parts(files[0])
    with pytest.raises(WeightError, match="holds 2 GGUF models"):
        find_in_directory(tmp_path)
