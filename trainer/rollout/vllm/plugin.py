"""What every vLLM beside this program learns as it starts, its own server as well: an entry point that pyproject.toml names."""

from __future__ import annotations


def register() -> None:
    """Have transformers know MiMo without running code of the model's folder, and on a processor have drafts judged rightly."""
    from vllm.platforms import current_platform

    import trainer.models.mimo  # noqa: F401  registers it
    from trainer.rollout.vllm import processor

    if current_platform.is_cpu():
        processor.mend_drafts()
