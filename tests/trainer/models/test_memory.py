"""Log-probs, entropies and acceptance never hold more than a chunk of logits, forward or backward, whatever the number of tokens."""

import inspect

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from trainer.models.log_probs import MOST_LOGITS, acceptance, token_log_probs

VOCABULARY, TOKENS_PER_CHUNK = 97, 5  # 97 is no other size in the model, so that a tensor with it is one of logits


def is_logits(tensor: torch.Tensor) -> bool:
    return VOCABULARY in tensor.shape and 16 not in tensor.shape  # [97, 16] are embeddings and lm_head


class LargestLogits(TorchDispatchMode):
    """Records the largest tensor of logits, or as large as logits, that any operation makes, those of the backward pass included."""

    def __init__(self):
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, torch.Tensor) and is_logits(leaf)]
        self.numbers = max([self.numbers, *(tensor.numel() for tensor in made)])
        return result


def update(joint, sequences):
    """(largest logits in numbers, tensors of logits kept for the backward pass, loss and gradients) of main head and K heads."""
    kept = []

    def keep(tensor):
        kept.extend([tensor] if is_logits(tensor) else [])
        return tensor

    with LargestLogits() as largest:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            out = joint(sequences, 0.7, ("trunk", "heads"))
            loss = (out.log_probs * torch.arange(out.log_probs.shape[1])).sum() + sum(
                (weight * out.mtp_log_probs[reach]).sum() for weight, reach in ((0.5, "trunk"), (-0.3, "heads"))
            )
        loss.backward()
        joint.draft_acceptance(sequences, 0.7)
    gradients = {name: parameter.grad for name, parameter in joint.named_parameters()}
    return largest.numbers, len(kept), {"loss": loss.detach(), "entropy": out.entropy, **gradients}


@pytest.mark.parametrize("tied", [True, False])
def test_no_more_than_a_chunk_of_logits_exists_at_once_and_none_is_kept_for_the_backward_pass(
    make_joint, sequences, monkeypatch, tied
):
    tokens = int(sequences.mask.sum())
    assert tokens > 6 * TOKENS_PER_CHUNK
    naive_largest, naive_kept, naive = update(make_joint(2, tied=tied, vocabulary=VOCABULARY), sequences)
    assert naive_largest == tokens * VOCABULARY
    assert naive_kept
    most = TOKENS_PER_CHUNK * VOCABULARY + 3
    for function in (token_log_probs, inspect.unwrap(acceptance)):
        assert function.__kwdefaults__["most_logits"] == MOST_LOGITS
        monkeypatch.setitem(function.__kwdefaults__, "most_logits", most)
    largest, kept, chunked = update(make_joint(2, tied=tied, vocabulary=VOCABULARY), sequences)
    assert largest == TOKENS_PER_CHUNK * VOCABULARY
    assert kept == 0
    for name, value in naive.items():
        torch.testing.assert_close(chunked[name], value, rtol=1e-4, atol=1e-5, msg=f"{name} differs")
