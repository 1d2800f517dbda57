"""MiMo-7B for transformers, which has no class for it: a Qwen2 (biases on queries, keys and values) whose checkpoints carry MTP layers.

Importing this module registers it with the Auto classes, so that a published folder loads without the code that comes with it.
"""

from __future__ import annotations

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, AutoModelForCausalLM, Qwen2Config, Qwen2ForCausalLM


@strict
class MiMoConfig(Qwen2Config):
    """Qwen2's settings, and how many MTP layers the checkpoint has."""

    model_type = "mimo"
    num_nextn_predict_layers: int = 0


class MiMoForCausalLM(Qwen2ForCausalLM):
    """The trunk; the MTP layers are read by trainer.models.storage."""

    config: MiMoConfig
    config_class = MiMoConfig
    _keys_to_ignore_on_load_unexpected = (r"^model\.mtp_layers\.",)


AutoConfig.register("mimo", MiMoConfig, exist_ok=True)
AutoModelForCausalLM.register(MiMoConfig, MiMoForCausalLM, exist_ok=True)
