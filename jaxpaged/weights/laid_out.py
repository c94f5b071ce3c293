"""The leaves of a converted checkpoint, which are the same for every machine, in the order that this machine wants."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jaxtyping import Array

from jaxpaged.decoder.functional import FunctionalDecoder
from jaxpaged.quant.onednn.schemes import LaidOut


def lay_out(decoder: FunctionalDecoder, leaves: Sequence[Array]) -> tuple[Array, ...]:
    """The leaves of `decoder`, from those of `decoder.portable`, one weight at a time. They are not needed any more."""
    if decoder.portable is None:
        return tuple(leaves)
    given = list(leaves)
    laid_out: list[Array] = []
    for weight, portable in zip(decoder.weights, decoder.portable.weights, strict=True):
        parts = [given[leaf] for leaf in portable.leaves]
        for leaf in portable.leaves:
            given[leaf] = None  # type: ignore[call-overload]
        laid_out += jax.jit(weight.scheme.lay_out)(parts) if isinstance(weight.scheme, LaidOut) else parts
    return tuple(laid_out)
