"""Heads that this program attaches to a decoder without MTP: `mtp.safetensors` beside the model, which stays as it was."""

from trainer.models.layouts.layout import OWN, Layout

ATTACHED = Layout(
    name="attached",
    model_types=(),
    own={name: f"depths.{{depth}}.{name}" for name in OWN},
    block="depths.{depth}.block.",
)
