"""Peak memory of log-probs under a vocabulary of 151,936 tokens: logits in chunks, as in training, against all of them at once.

    python -m benchmarks.log_probs [--vocabulary 151936]

A tiny random trunk reads one sequence; its log-probs and their gradient are made in a process of its own for each line, on the processor, and
the peak resident set is compared with that of the same process at one token. All at once is measured as far as it fits this machine, and what
8,192 tokens would need is put on the line through these points.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from typing import NamedTuple

from backend.settings import environment

HIDDEN = 64
CHUNKED = (1, 1024, 2048, 4096, 8192)
AT_ONCE = (1, 256, 512, 1024)
ALL = 2**62


class Measured(NamedTuple):
    """Of one number of tokens."""

    tokens: int
    mib: int
    """Peak resident set."""


def main() -> None:
    """Measure and print; with --tokens, be the process that is measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--vocabulary", type=int, default=151_936)
    parser.add_argument("--tokens", type=int)
    parser.add_argument("--at-once", action="store_true")
    given = parser.parse_args()
    if given.tokens is not None:
        make(given.tokens, given.vocabulary, at_once=given.at_once)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform != "darwin" else 2**20))
        return
    print(f"vocabulary {given.vocabulary:,}; MiB above one token")
    print("tokens   in chunks   all at once")
    chunked = above(CHUNKED, given.vocabulary, at_once=False)
    at_once = above(AT_ONCE, given.vocabulary, at_once=True)
    per_token = at_once[-1].mib / at_once[-1].tokens
    measured = {one.tokens: one.mib for one in at_once}
    in_chunks = {one.tokens: one.mib for one in chunked}
    for tokens in sorted({*measured, *in_chunks}):
        naive = f"{measured[tokens]:,}" if tokens in measured else f"{per_token * tokens:,.0f} (by the line)"
        print(f"{tokens:6,} {in_chunks.get(tokens, '-')!s:>11} {naive:>13}")


def above(tokens: tuple[int, ...], vocabulary: int, *, at_once: bool) -> list[Measured]:
    """Peaks above that of the first number of tokens."""
    least, *peaks = [Measured(count, peak_of(count, vocabulary, at_once=at_once)) for count in tokens]
    return [Measured(one.tokens, one.mib - least.mib) for one in peaks]


def peak_of(tokens: int, vocabulary: int, *, at_once: bool) -> int:
    """MiB of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.log_probs", f"--tokens={tokens}", f"--vocabulary={vocabulary}"]
    command += ["--at-once"] if at_once else []
    return int(subprocess.check_output(command, text=True, env=environment()).split()[-1])


def make(tokens: int, vocabulary: int, *, at_once: bool, device: str = "cpu") -> None:
    """Log-probs of so many tokens, and their gradient."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    from trainer.models.log_probs import MOST_LOGITS, token_log_probs

    sizes = {"hidden_size": HIDDEN, "intermediate_size": 2 * HIDDEN, "num_hidden_layers": 2, "head_dim": 16}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": True}
    trunk = Qwen3ForCausalLM(Qwen3Config(vocab_size=vocabulary, **sizes, **heads)).to(device)
    given = torch.randint(vocabulary, (1, tokens + 1), generator=torch.Generator().manual_seed(0)).to(device)
    hidden = trunk.get_decoder()(input_ids=given, use_cache=False).last_hidden_state[0, :-1]
    lm_head = trunk.get_output_embeddings().weight
    most = ALL if at_once else MOST_LOGITS
    token_log_probs(hidden, lm_head, given[0, 1:], 1.0, most_logits=most).log_probs.sum().backward()


if __name__ == "__main__":
    main()
