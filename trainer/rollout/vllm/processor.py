"""What vLLM needs on a processor to sample from the model's own distribution, and to be looked into."""

from __future__ import annotations

from torch import Tensor


def leave_weights() -> None:
    """Let weights stay the parameters that they are, so that checksums can be taken; to be called before a model is loaded.

    Packed for oneDNN, nobody can read them any more.
    """
    import vllm._custom_ops as operations

    operations._supports_onednn = False


def mend_drafts() -> None:
    """Have drafted tokens judged at their temperature.

    vLLM's own function writes the result into a copy, so that they are judged at whatever temperature memory held (vllm #55005).
    """
    from vllm.v1.sample import rejection_sampler

    rejection_sampler.expand_batch_to_tokens = expand_batch_to_tokens


def expand_batch_to_tokens(
    x: Tensor, cu_num_tokens: Tensor, num_tokens: int, replace_from: float = 0, replace_to: float = 0
) -> Tensor:
    """Each request's value [B], for each of its tokens [num_tokens]; in the place of the function of vLLM that is called so.

    Args:
        x: [B]
        cu_num_tokens: [B] tokens of the requests up to and with each.
        num_tokens: of all requests.
        replace_from: a value that is replaced,
        replace_to: by this one.
    """
    counts = cu_num_tokens.diff(prepend=cu_num_tokens.new_zeros(1))
    return x.masked_fill(x == replace_from, replace_to).repeat_interleave(counts, output_size=num_tokens)
