"""Qwen3.5, dense and mixture of experts, text alone or with a vision part: the names of Qwen3-Next; the config says `mtp_num_hidden_layers`."""

from dataclasses import replace

from trainer.models.layouts.qwen3_next import QWEN3_NEXT

QWEN3_5 = replace(
    QWEN3_NEXT, name="Qwen3.5", model_types=("qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text")
)
