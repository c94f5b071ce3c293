"""vLLM's parameters of requests, under vLLM's name of the module. No arrays, no jax."""

from jaxpaged.params.beam import BeamSearchParams
from jaxpaged.params.sampling import RequestOutputKind, SamplingParams
from jaxpaged.params.structured import StructuredOutputsParams

__all__ = ["BeamSearchParams", "RequestOutputKind", "SamplingParams", "StructuredOutputsParams"]
