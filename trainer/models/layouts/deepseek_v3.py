"""DeepSeek-V3 and R1: the depths stand behind the last layer, `model.layers.61`, with the same block (MLA, mixture of experts)."""

from trainer.models.layouts.layout import Layout

DEEPSEEK_V3 = Layout(
    name="DeepSeek-V3",
    model_types=("deepseek_v3",),
    own={
        "enorm.weight": "model.layers.{layer}.enorm.weight",
        "hnorm.weight": "model.layers.{layer}.hnorm.weight",
        "eh_proj.weight": "model.layers.{layer}.eh_proj.weight",
        "norm.weight": "model.layers.{layer}.shared_head.norm.weight",
    },
    block="model.layers.{layer}.",
    blind_at_start=True,
    chains_normed=True,
    copies={
        "model.layers.{layer}.embed_tokens.weight": "embeddings",
        "model.layers.{layer}.shared_head.head.weight": "lm_head",
    },
)
