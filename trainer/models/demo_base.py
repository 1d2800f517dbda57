"""The demo's base model: a Qwen3 of about 0.2 M parameters and one MTP head, warmed up on written addition until it is right about
two times in five. There is something left to learn for RL, and training it takes under a minute on two cores.

Makes, under a home folder, `models/addition` (model, heads, tokenizer) and `data/addition/{train,test}.jsonl`.
"""

from __future__ import annotations

import json
import shutil
import string
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from trainer.errors import TrainingError
from trainer.models.joint import JointModel, Sequences
from trainer.models.mtp import MtpDepth
from trainer.models.storage import save_joint
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.engine import Sampling
from trainer.seeds import derive
from trainer.tasks.addition import draw_pairs, problem, worked_response, write_problems

TRAIN_PROBLEMS, TEST_PROBLEMS = 8_000, 200
BATCH, STEPS, LR, WARMUP = 64, 2_000, 3e-3, 50
TARGET_ACCURACY = (0.38, 0.48)
CHECK_EVERY, CLOSE, CHECK_CLOSE_EVERY = 20, 0.10, 4
"""The rate stays high, so that accuracy moves by 0.1 and more in a few steps: once it is CLOSE, look often enough to stop in time.
What the high rate leaves behind is noise, which RL removes quickly."""
THREADS = 2
"""Sums of floats depend on how many threads share them: the same number everywhere gives the same model on like machines."""

Progress = Callable[[int, int, dict[str, float]], None]
"""(step, steps at most, {"accuracy", "loss"})"""


def model_folder(home: Path) -> Path:
    """Where the demo's base model stands."""
    return home / "models" / "addition"


def is_made(home: Path) -> bool:
    """Whether base model and data are complete."""
    return (model_folder(home) / "made.json").is_file()


def make_base(home: Path, *, seed: int = 0, progress: Progress = lambda step, steps, values: None) -> Path:
    """Train and save the base model and its data, unless they are there already.

    Raises:
        TrainingError: the target accuracy was not reached.
    """
    final = model_folder(home)
    if is_made(home):
        return final
    pairs = draw_pairs(TRAIN_PROBLEMS + TEST_PROBLEMS, derive(seed, "problems"))
    for name, part in {"train": pairs[:TRAIN_PROBLEMS], "test": pairs[TRAIN_PROBLEMS:]}.items():
        write_problems(home / "data" / "addition" / f"{name}.jsonl", part)
    with _threads(THREADS), torch.random.fork_rng():
        torch.manual_seed(derive(seed, "base"))
        joint, tokenizer = new_model(), character_tokenizer()
        accuracy = _warm_up(joint, tokenizer, pairs[:TRAIN_PROBLEMS], seed, progress)
    partial = final.with_name(".addition.partial")
    shutil.rmtree(partial, ignore_errors=True)
    save_joint(joint, tokenizer, partial)
    (partial / "made.json").write_text(json.dumps({"seed": seed, "accuracy": accuracy}) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    return final


def new_model() -> JointModel:
    """Random trunk and one MTP depth."""
    trunk = Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=len(character_tokenizer()),
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=4,
            head_dim=16,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
    )
    return JointModel(trunk, [MtpDepth(trunk.get_decoder())])


def character_tokenizer() -> PreTrainedTokenizerFast:
    """One token per printable ASCII character, and one for `Answer:`; anything else is unknown."""
    alphabet = [
        "<pad>",
        "<eos>",
        "<unk>",
        "Answer:",
        "\n",
        " ",
        *string.digits,
        *string.punctuation,
        *string.ascii_letters,
    ]
    tokenizer = Tokenizer(models.WordLevel({token: index for index, token in enumerate(alphabet)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"Answer:|[\s\S]"), behavior="isolated")
    tokenizer.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="<eos>",
        unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )


def _warm_up(
    joint: JointModel, tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[int, int]], seed: int, progress: Progress
) -> float:
    """Next-token and MTP cross-entropy on worked additions until sampled accuracy reaches the target; that accuracy."""
    optimizer = torch.optim.AdamW(joint.parameters(), lr=LR, weight_decay=0.01)
    generator = torch.Generator().manual_seed(derive(seed, "batches"))
    engine = BuiltinEngine(joint.trunk, tokenizer.eos_token_id)
    checked = draw_pairs(128, derive(seed, "accuracy"))
    accuracy = 0.0
    for step in range(1, STEPS + 1):
        drawn = [pairs[index] for index in torch.randint(len(pairs), (BATCH,), generator=generator)]
        predictions = joint(_batch(tokenizer, drawn), 1.0, ("all",))
        count = (predictions.log_probs != 0).sum()
        loss = -(predictions.log_probs.sum() + predictions.mtp_log_probs["all"].sum()) / count
        for group in optimizer.param_groups:
            group["lr"] = LR * min(1.0, step / WARMUP)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(joint.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        if step % (CHECK_EVERY if accuracy < CLOSE else CHECK_CLOSE_EVERY) == 0:
            accuracy = _accuracy(engine, tokenizer, checked, derive(seed, "check", step))
            progress(step, STEPS, {"accuracy": accuracy, "loss": loss.item()})
            if TARGET_ACCURACY[0] <= accuracy <= TARGET_ACCURACY[1]:
                return accuracy
    raise TrainingError(
        f"the base model reached accuracy {accuracy:.2f} in {STEPS} steps, not {TARGET_ACCURACY[0]} to {TARGET_ACCURACY[1]}; try another seed"
    )


def _batch(tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[int, int]]) -> Sequences:
    prompts = [tokenizer(problem(a, b))["input_ids"] for a, b in pairs]
    responses = [tokenizer(worked_response(a, b))["input_ids"] + [tokenizer.eos_token_id] for a, b in pairs]
    rows = [torch.tensor(prompt + response) for prompt, response in zip(prompts, responses, strict=True)]
    lengths = torch.tensor([len(response) for response in responses])
    return Sequences(
        tokens=torch.nn.utils.rnn.pad_sequence(rows, batch_first=True),
        prompt_lengths=torch.tensor([len(prompt) for prompt in prompts]),
        mask=torch.arange(int(lengths.max())) < lengths[:, None],
    )


def _accuracy(
    engine: BuiltinEngine, tokenizer: PreTrainedTokenizerFast, pairs: list[tuple[int, int]], seed: int
) -> float:
    """Share of right answers among two samples per problem."""
    prompts = [tokenizer(problem(a, b))["input_ids"] for a, b in pairs]
    groups = engine.generate(prompts, Sampling(samples=2, max_tokens=48, temperature=1.0, top_p=1.0, seed=seed))
    right = [
        tokenizer.decode(response.tokens, skip_special_tokens=True).endswith(f"Answer:{a + b}")
        for (a, b), responses in zip(pairs, groups, strict=True)
        for response in responses
    ]
    return sum(right) / len(right)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
