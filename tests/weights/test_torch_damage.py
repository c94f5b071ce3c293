"""Hostile and broken torch files: refused in a sentence, and nothing in them runs."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxpaged.errors import WeightError
from jaxpaged.weights import torch_pickle
from jaxpaged.weights.torch_file import OLD_FORMAT, TorchEntry, read_torch_entries
from tests.weights.torch_zip import END, START, index_of, number, storage, text, view, write_archive, write_file

ONE = storage("Float", "0", 6)
GOOD = view(ONE, (2, 3), (3, 1))
RECORD = np.arange(6, dtype=np.float32).tobytes()


class Evil:
    """Runs a program where pickle loads it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def assert_refused(path: Path, message: str) -> None:
    with pytest.raises(WeightError, match=message) as caught:
        read_torch_entries(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("wrap", [lambda evil: evil, lambda evil: {"a": evil}, lambda evil: {"a": [(evil,)]}])
def test_code_never_runs(tmp_path: Path, protocol: int, wrap: Callable[[Any], Any]) -> None:
    marker = tmp_path / "ran"
    index = pickle.dumps(wrap(Evil(marker)), protocol)
    assert_refused(
        write_archive(tmp_path / "x.bin", index, {"0": RECORD}),
        r"it asks for (posix|nt)\.system.*nothing of it was run",
    )
    assert not marker.exists()
    pickle.loads(index)  # it would have
    assert marker.exists()


INSTRUCTIONS = {
    "INST": START + b"(" + text("true") + b"iposix\nsystem\n" + END,
    "OBJ": START + b"(" + b"ccollections\nOrderedDict\n" + b"o" + END,
    "NEWOBJ": START + b"ccollections\nOrderedDict\n)\x81" + END,
    "EXT1": START + b"\x82\x01" + END,
    "PERSID": START + b"Pabc\n" + END,
    "DUP": START + b"N2" + END,
    "LONG4": START + b"\x8b" + struct.pack("<i", 1) + b"\x01" + END,
    "INT": START + b"I1\n" + END,
}


@pytest.mark.parametrize("name", INSTRUCTIONS)
def test_other_instructions_are_refused_by_name(tmp_path: Path, name: str) -> None:
    assert_refused(write_archive(tmp_path / "x.bin", INSTRUCTIONS[name], {}), f"the instruction {name}, which")


INDICES = {
    "a name of builtins": (START + b"cbuiltins\neval\n" + END, r"asks for builtins\.eval"),
    "a storage of another kind": (index_of({"a": view(storage("ComplexFloat", "0", 6), (2,), (1,))}), "ComplexFloatSt"),
    "no dictionary": (START + b"]" + END, "holds a list, not a dictionary of tensors"),
    "no tensor": (index_of({"model": b"}"}), "'model' in it is no tensor"),
    "a number for a name": (START + b"}(" + number(1) + GOOD + b"u" + END, "a name in it is no text"),
    "a tensor that reaches too far": (index_of({"a": view(ONE, (2, 4), (3, 1))}), "reaches beyond its storage"),
    "a negative offset": (index_of({"a": view(ONE, (2,), (1,), -1)}), "broken shape"),
    "negative strides": (index_of({"a": view(ONE, (2,), (-1,), 3)}), "broken shape"),
    "more strides than axes": (index_of({"a": view(ONE, (2,), (1, 1))}), "broken shape"),
    "very many axes": (index_of({"a": view(ONE, (1,) * 9, (1,) * 9)}), "broken shape"),
    "a storage larger than its record": (index_of({"a": view(storage("Float", "0", 7), (2,), (1,))}), "is truncated"),
    "a record that is missing": (index_of({"a": view(storage("Float", "9", 6), (2,), (1,))}), "record 9 is missing"),
    "a record elsewhere": (index_of({"a": view(storage("Float", "../../x", 6), (2,), (1,))}), "is missing"),
    "no end": (START + b"}", "index is broken"),
    "nothing on the stack": (START + b"u" + END, "index is broken"),
    "a memory that is empty": (START + b"j\xff\xff\xff\x7f" + END, "index is broken"),
    "a very long one": (START + b"N" * (9 << 20) + END, "larger than 8388608 bytes"),
    "deep nesting": (START + b")" + b"\x85" * 100_000 + END, "holds a tuple"),
    "a deep name": (START + b"})" + b"\x85" * 100_000 + b"Ns" + END, "a name in it is no text"),
    "a called tuple": (START + b"))R" + END, "index is broken"),
    "a dictionary of pairs": (START + b"ccollections\nOrderedDict\n](]N\x86et\x85R" + END, "index is broken"),
}


@pytest.mark.parametrize("name", INDICES)
def test_a_broken_index(tmp_path: Path, name: str) -> None:
    index, message = INDICES[name]
    assert_refused(write_archive(tmp_path / "x.bin", index, {"0": RECORD}), message)


def test_the_steps_of_an_index_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch_pickle, "MAX_STEPS", 1000)
    index = START + b"}" + b"N" * 2000 + END
    assert_refused(write_archive(tmp_path / "x.bin", index, {}), "more than 1000 steps")


def test_a_large_place_in_memory_takes_none(tmp_path: Path) -> None:
    index = START + b"}r\xff\xff\xff\x7f(" + text("a") + GOOD + b"u" + END
    assert read_torch_entries(write_archive(tmp_path / "x.bin", index, {"0": RECORD})).keys() == {"a"}


def test_other_archives(tmp_path: Path) -> None:
    good = index_of({"a": GOOD})
    assert_refused(write_archive(tmp_path / "a.bin", good, {"0": RECORD}, byteorder=b"big"), "a big-endian machine")
    program = write_archive(tmp_path / "b.bin", good, {"0": RECORD}, **{"constants.pkl": b""})
    assert_refused(program, "no file of torch.save with the weights of a model")
    with zipfile.ZipFile(tmp_path / "c.bin", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", good)
    assert_refused(tmp_path / "c.bin", "is compressed")
    with zipfile.ZipFile(tmp_path / "d.bin", "w") as archive:
        archive.writestr("archive/data.pkl", good)
        archive.writestr(zipfile.ZipInfo("archive/data/0"), RECORD, zipfile.ZIP_DEFLATED)
    assert_refused(tmp_path / "d.bin", "not stored as it is")
    (tmp_path / "e.bin").write_bytes(OLD_FORMAT + b"anything")
    assert_refused(tmp_path / "e.bin", r"the format of torch before 1\.6.*save the model again as safetensors")
    (tmp_path / "f.bin").write_bytes(b"")
    assert_refused(tmp_path / "f.bin", "is truncated or no file of torch.save")
    (tmp_path / "g.bin").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    assert_refused(tmp_path / "g.bin", "is a Git LFS pointer")
    (tmp_path / "h.bin").mkdir()
    assert_refused(tmp_path / "h.bin", "cannot be read")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    path = write_file(tmp_path / "x.bin", {"a": np.ones((2, 3), np.float32), "b": np.zeros(2, np.int64)})
    whole = path.read_bytes()
    for size in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:size])
        assert_refused(path, "x.bin")


def test_any_other_byte_gives_a_sentence_or_tensors_inside_the_file(tmp_path: Path) -> None:
    path = write_file(tmp_path / "x.bin", {"a": np.ones((2, 3), np.float32)})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(whole)
        for place in rng.integers(0, len(whole), rng.integers(1, 4)):
            changed[place] = rng.integers(0, 256)
        path.write_bytes(changed)
        try:
            entries = read_torch_entries(path)
        except WeightError:
            continue
        for entry in entries.values():
            assert isinstance(entry, TorchEntry)
            assert entry.array().shape == entry.shape
