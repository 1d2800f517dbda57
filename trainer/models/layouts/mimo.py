"""MiMo-7B: `model.mtp_layers.<k>`, the block's tensors flat beside the depth's own; the projection takes [hidden ; embedding]."""

from trainer.models.layouts.layout import Layout

MIMO = Layout(
    name="MiMo",
    model_types=("mimo",),
    own={
        "enorm.weight": "model.mtp_layers.{depth}.token_layernorm.weight",
        "hnorm.weight": "model.mtp_layers.{depth}.hidden_layernorm.weight",
        "eh_proj.weight": "model.mtp_layers.{depth}.input_proj.weight",
        "norm.weight": "model.mtp_layers.{depth}.final_layernorm.weight",
    },
    block="model.mtp_layers.{depth}.",
    hidden_first=True,
    blind_at_start=True,
    reads_unnormed=True,
    chains_normed=True,
)
