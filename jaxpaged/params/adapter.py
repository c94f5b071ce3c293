"""LoRARequest: which adapter a request asks for."""

from __future__ import annotations

from dataclasses import dataclass

from jaxpaged.errors import RequestError


@dataclass(frozen=True, slots=True)
class LoRARequest:
    """An adapter: its name, a number from 1 on and its directory. Adapters are not served yet: using one is refused."""

    lora_name: str
    lora_int_id: int
    lora_path: str = ""
    base_model_name: str | None = None
    load_inplace: bool = False
    is_3d_lora_weight: bool = False

    def __post_init__(self) -> None:
        if self.lora_int_id < 1:
            raise RequestError(f"lora_int_id is {self.lora_int_id}; give a number from 1 on.", "lora_int_id")
        if not self.lora_path:
            raise RequestError("lora_path is empty; name the adapter's directory.", "lora_path")

    @property
    def name(self) -> str:
        return self.lora_name

    @property
    def path(self) -> str:
        return self.lora_path

    @property
    def adapter_id(self) -> int:
        return self.lora_int_id
