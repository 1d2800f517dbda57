"""Qwen3-Next: `mtp.*` beside the model, with a full-attention block, `mtp.layers.0`, behind one projection and before one norm.

Its norms multiply by 1 + weight, which comes with the trunk's class of norm.
"""

from trainer.models.layouts.layout import Layout

QWEN3_NEXT = Layout(
    name="Qwen3-Next",
    model_types=("qwen3_next",),
    own={
        "enorm.weight": "mtp.pre_fc_norm_embedding.weight",
        "hnorm.weight": "mtp.pre_fc_norm_hidden.weight",
        "eh_proj.weight": "mtp.fc.weight",
        "norm.weight": "mtp.norm.weight",
    },
    block="mtp.layers.{depth}.",
    chains_normed=True,
    one_only=True,
)
