"""TRL's GRPOTrainer on a given model and prompts, one rollout with its optimiser steps at a time. Run by `benchmarks.trainer` with a Python that has TRL.

    PYTHON benchmarks/trl_steps.py FOLDER PROMPTS SAMPLES MINI_BATCHES TOKENS COMPILE

Reads a line before every rollout, prints the seconds that it took with its optimiser steps and the processor's time for them, and ends with its
input.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer


class InTurn(TrainerCallback):
    """Waits for a line before each rollout and tells how long the last one took."""

    def __init__(self, mini_batches: int):
        self._mini_batches = mini_batches
        self._began = self._spent = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the first optimiser step of a rollout: wait."""
        if state.global_step % self._mini_batches == 0:
            if not sys.stdin.readline():
                control.should_training_stop = True
            self._began, self._spent = time.perf_counter(), time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """After the last one: tell."""
        if state.global_step % self._mini_batches == 0:
            print("SECONDS", time.perf_counter() - self._began, time.process_time() - self._spent, flush=True)


def main() -> None:
    """Train until the input ends."""
    folder, prompts, samples, mini_batches, tokens, compiled = sys.argv[1:]
    count, size = int(prompts), int(prompts) * int(samples) // int(mini_batches)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.padding_side = "left"
    problems = [json.loads(line) for line in (Path(folder) / "problems.jsonl").read_text().splitlines()]
    answers = {problem["problem"]: problem["answer"] for problem in problems}

    def right(prompts: list[str], completions: list[str], **_: Any) -> list[float]:
        return [
            1.0 if text.endswith(f"Answer:{answers[prompt]}") else -1.0
            for prompt, text in zip(prompts, completions, strict=True)
        ]

    config = GRPOConfig(
        output_dir=str(Path(folder) / "trl"),
        per_device_train_batch_size=size,
        gradient_accumulation_steps=1,
        steps_per_generation=int(mini_batches),
        num_generations=int(samples),
        max_completion_length=int(tokens),
        num_iterations=1,
        beta=0.0,
        loss_type="dapo",
        epsilon=0.2,
        epsilon_high=0.28,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        learning_rate=1e-6,
        max_steps=10**6,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        torch_compile=compiled == "1",
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
    )
    trainer = GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
        reward_funcs=right,
        args=config,
        train_dataset=Dataset.from_list([{"prompt": problem["problem"]} for problem in problems[: 64 * count]]),
        processing_class=tokenizer,
        callbacks=[InTurn(int(mini_batches))],
    )
    trainer.train()


if __name__ == "__main__":
    main()
