"""A server whose model says what a test tells it to, in the format of a family."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import AddedToken

from jaxpaged.async_llm import AsyncLLM
from jaxpaged.config import EngineConfig, ModelConfig
from jaxpaged.frontend.generation_config import GenerationConfig
from jaxpaged.frontend.model_files import FrontEnd
from jaxpaged.text.vocabulary import Vocabulary
from tests.fake_engine import FakeEngine
from tests.server.harness import MODEL, LocalClient
from tests.text.samples import EOS, hf_tokenizer

HERMES = (
    "{% if tools %}<|im_start|>system\n{{ tools | tojson }} Answer with <tool_call>.<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ m.role }}\n"
    "{% if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content or '' }}"
    "{% for call in m.tool_calls or [] %}<tool_call>{{ call.function.name }}:"
    "{% for name, value in call.function.arguments | items %}"
    "{{ name }}={{ value }};{% endfor %}</tool_call>{% endfor %}"
    "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HARMONY = (
    "{% for m in messages %}<|start|>{{ m.role }}<|message|>{{ m.content }}<|end|>{% endfor %}"
    "<|start|>assistant{# <|channel|> #}"
)
HARMONY_TOKENS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|call|>", "<|return|>", "<|constrain|>")
MISTRAL = "{% for m in messages %}{{ m.content }}{% endfor %}{# [TOOL_CALLS] #}"


class Talker:
    """`llm` answers every request with `text` and then its end; `engine` keeps the requests."""

    def __init__(
        self, text: str = "Hello.", template: str = HERMES, *, special: Sequence[str] = (), tokens_per_step: int = 1
    ) -> None:
        self.text = text
        self.tokenizer = hf_tokenizer(chat_template=template)
        self.tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
        backend = self.tokenizer.backend_tokenizer
        self._end = backend.token_to_id(EOS)
        self.engine = FakeEngine(
            self._tokens, vocab_size=600, max_model_len=8192, tokens_per_step=tokens_per_step, max_num_seqs=8
        )
        front_end = FrontEnd(self.tokenizer, Vocabulary(backend), GenerationConfig((self._end,), {}))
        config = EngineConfig(ModelConfig(served_model_name=MODEL))
        self.llm = AsyncLLM.from_client(LocalClient(self.engine), front_end, config)

    def _tokens(self, request: object) -> list[int]:
        return [*self.tokenizer.encode(self.text, add_special_tokens=False), self._end]

    def prompt(self, index: int = -1) -> str:
        """What the engine was asked, as text."""
        return self.tokenizer.decode(self.engine.requests[index].prompt_token_ids)
