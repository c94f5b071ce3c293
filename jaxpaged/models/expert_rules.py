"""Rules for the experts of a checkpoint: the names that most families use, with others in their places."""

from __future__ import annotations

from jaxpaged.models.weight_rules import Rule

BLOCK = "model.layers.{i}.mlp"
PARTS = ("gate_proj", "up_proj", "down_proj")


def expert_rules(block: str = BLOCK, *, router: str = "gate", parts: tuple[str, str, str] = PARTS) -> tuple[Rule, ...]:
    """A tensor for each part of each expert. `parts`: what gate, up and down are called."""
    gate, up, down = (f"{block}.experts.{{e}}.{name}.weight" for name in parts)
    return (
        Rule(f"{block}.{router}.weight", "layers.{i}.ffn.router.weight"),
        Rule(gate, "layers.{i}.ffn.expert_gate_up", "gate"),
        Rule(up, "layers.{i}.ffn.expert_gate_up", "up"),
        Rule(down, "layers.{i}.ffn.expert_down"),
    )


CORRECTION = Rule(
    f"{BLOCK}.gate.e_score_correction_bias",
    "layers.{i}.ffn.router.correction",
    aliases=(f"{BLOCK}.e_score_correction_bias",),
)


def shared_rules(name: str, block: str = BLOCK) -> tuple[Rule, ...]:
    """The expert that serves every token."""
    return (
        Rule(f"{block}.{name}.gate_proj.weight", "layers.{i}.ffn.shared.gate_up", "gate"),
        Rule(f"{block}.{name}.up_proj.weight", "layers.{i}.ffn.shared.gate_up", "up"),
        Rule(f"{block}.{name}.down_proj.weight", "layers.{i}.ffn.shared.down"),
    )
