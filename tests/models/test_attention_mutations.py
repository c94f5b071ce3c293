"""Parity fails without any one part of attention that these families have."""

from __future__ import annotations

import pytest

from tests.models.test_mutations import Mutation, assert_parity_fails, mixer

MUTATIONS: dict[str, tuple[str, Mutation]] = {
    "temperature_from_the_start": ("ministral3", mixer(temperature=None)),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_without_it_parity_fails(mutation: str) -> None:
    assert_parity_fails(*MUTATIONS[mutation])
