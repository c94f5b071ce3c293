"""Which GGUF model of many a tag means."""

import pytest

from jaxpaged.errors import ConfigError
from jaxpaged.hub.gguf_choice import choose, split_tag

# As Unsloth, bartowski, mradermacher, Qwen and ggml-org name theirs.
LISTING = (
    "Qwen3-0.6B-Q4_K_M.gguf",
    "Qwen3-0.6B-Q4_K_S.gguf",
    "Qwen3-0.6B-Q8_0.gguf",
    "Qwen3-0.6B-UD-Q4_K_XL.gguf",
    "Qwen3-0.6B-UD-Q4_K_M.gguf",
    "Qwen3-0.6B-UD-IQ1_S.gguf",
    "Qwen3-0.6B-F16.gguf",
    "BF16/Qwen3-0.6B-BF16-00002-of-00002.gguf",
    "BF16/Qwen3-0.6B-BF16-00001-of-00002.gguf",
    "mmproj-F16.gguf",
    "imatrix_unsloth.gguf",
    "README.md",
    "config.json",
)


@pytest.mark.parametrize(
    ("tag", "files"),
    [
        ("Q4_K_M", ["Qwen3-0.6B-Q4_K_M.gguf"]),
        ("q8_0", ["Qwen3-0.6B-Q8_0.gguf"]),
        ("F16", ["Qwen3-0.6B-F16.gguf"]),
        ("Q4_K_XL", ["Qwen3-0.6B-UD-Q4_K_XL.gguf"]),
        ("ud-q4_k_m", ["Qwen3-0.6B-UD-Q4_K_M.gguf"]),
        ("BF16", ["BF16/Qwen3-0.6B-BF16-00001-of-00002.gguf", "BF16/Qwen3-0.6B-BF16-00002-of-00002.gguf"]),
        ("Qwen3-0.6B-Q4_K_S.gguf", ["Qwen3-0.6B-Q4_K_S.gguf"]),
    ],
)
def test_a_tag_means_one_model(tag: str, files: list[str]) -> None:
    assert choose(LISTING, tag, "org/name") == files


@pytest.mark.parametrize(
    "name",
    ["m.i1-Q4_K_M.gguf", "m_x.Q4_K_M.gguf", "Q4_K_M.gguf", "Q4_K_M/m.gguf", "m-q4_k_m-imat.gguf", "m_Q4_K_M.GGUF"],
)
def test_names_as_others_write_them(name: str) -> None:
    assert choose([name, "m-Q4_0.gguf", "m-IQ4_K_M.gguf"], "Q4_K_M", "org/name") == [name]


@pytest.mark.parametrize(
    ("names", "tag", "sentence"),
    [
        (LISTING, "Q5_K_M", "place holds no GGUF file of Q5_K_M; after the colon there may stand BF16, F16, Q4_K_M, "
         "Q4_K_S, Q8_0, UD-IQ1_S, UD-Q4_K_M, UD-Q4_K_XL."),
        (LISTING, "Q4_K", "place holds no GGUF file of Q4_K; after"),
        (("a-7b-Q8_0.gguf", "a-3b-Q8_0.gguf"), "Q8_0", "place holds 2 GGUF models of Q8_0; name a file after the "
         "colon: a-3b-Q8_0.gguf, a-7b-Q8_0.gguf."),
        (("a-Q8_0.gguf", "a-F16.gguf"), None, "place holds 2 GGUF models; name one as place:TAG, TAG being F16, Q8_0."),
        (("model.safetensors", "mmproj-Q8_0.gguf"), "Q8_0", "place holds no GGUF file; leave :Q8_0 out, or name a "
         "place that holds some."),
        ([f"m-Q{bits}_{number}.gguf" for bits in range(9) for number in range(9)], "F16", "and 57 more."),
    ],
)  # fmt: skip
def test_none_or_several_is_a_sentence_that_lists_what_there_is(
    names: tuple[str, ...], tag: str | None, sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        choose(names, tag, "place")
    assert sentence in str(caught.value)


def test_what_a_tag_is() -> None:
    assert split_tag("unsloth/Qwen3-0.6B-GGUF:Q4_K_M") == ("unsloth/Qwen3-0.6B-GGUF", "Q4_K_M")
    assert split_tag("models:a-Q8_0.gguf") == ("models", "a-Q8_0.gguf")
    for name in ("org/name", "https://hf.co/org/name", "org/name:", ":Q4_0", "a:b/c", "org/name:Q4 0"):
        assert split_tag(name) == (name, None)
