"""The built-in logit stages, one concern per file, in vLLM's order."""

from jaxpaged.sampling.stages.allowed_tokens import AllowedTokens
from jaxpaged.sampling.stages.bad_words import BadWords
from jaxpaged.sampling.stages.logit_bias import LogitBias
from jaxpaged.sampling.stages.min_tokens import MinTokens
from jaxpaged.sampling.stages.penalties import Penalties
from jaxpaged.sampling.stages.stage import LogitStage

BUILTIN_STAGES: tuple[LogitStage, ...] = (AllowedTokens(), BadWords(), MinTokens(), LogitBias(), Penalties())
