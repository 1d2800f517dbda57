"""Prompts in plain and in the tokenizer's chat template, with tokenizers made here."""

from __future__ import annotations

import string
from random import Random

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from trainer.errors import DataError
from trainer.rollout.prompts import tokenize
from trainer.tasks import Item

CHATML = (
    "{% for m in messages %}<s>{{ m.role }}\n{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)
WITH_BOS = "{{ bos_token }}" + CHATML
NO_SYSTEM = (
    "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + CHATML
)


def tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """One token per character, and <bos> before every text, as Llama's has it."""
    special = ["<bos>", "</s>", "<s>", "<unk>"]
    letters = [*special, *string.printable]
    made = Tokenizer(models.WordLevel({token: place for place, token in enumerate(letters)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made.add_special_tokens(special)
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    result = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="</s>", unk_token="<unk>")
    result.chat_template = template
    return result


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Bytes with merges, as most published models have them: any text, and what is decoded is what was encoded."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<bos>", "</s>", "<s>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["Let $x$ be the sum of all the numbers.", "user assistant system"] * 9, trainer)
    made.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 0)])
    result = PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<bos>", eos_token="</s>")
    result.chat_template = WITH_BOS
    return result


def item(prompt: str, *, chat: bool = True, system: str = "") -> Item:
    return Item("i", prompt, "1", prompt, chat=chat, system=system)


def read(asked: Item, template: str | None, most: int = 1000) -> str:
    """The prompt as the model gets it."""
    of = tokenizer(template)
    [prompt] = tokenize([asked], of, most, "data").kept
    return "".join(of.convert_ids_to_tokens(prompt.tokens))


def test_in_plain_the_prompt_is_what_the_tokenizer_makes_of_it():
    assert read(item("1+1=", chat=False), WITH_BOS) == "<bos>1+1="


def test_in_a_chat_the_prompt_is_the_users_message_and_the_assistant_is_next():
    assert read(item("1+1="), CHATML) == "<s>user\n1+1=</s><s>assistant\n"
    assert read(item("1+1=", system="Be brief."), CHATML) == ("<s>system\nBe brief.</s><s>user\n1+1=</s><s>assistant\n")


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_the_beginning_of_sequence_stands_there_once(system):
    text = read(item("1+1=", system=system), WITH_BOS)
    assert text.startswith("<bos><s>")
    assert text.count("<bos>") == 1


@pytest.mark.parametrize("prompt", ["{{ 7*7 }}", "{% if x %}", "a\n\n b ", "{problem}", "\\frac{1}{2} $x$"])
def test_a_problem_is_never_read_as_a_template(prompt):
    assert read(item(prompt), CHATML) == f"<s>user\n{prompt}</s><s>assistant\n"


def test_any_problem_comes_through_the_template_as_it_is_in_plain_and_in_a_chat():
    of, random = byte_tokenizer(), Random(0)
    letters = string.printable + "{%}<|>äßé²√≤数学🙂\u200b\u2212"
    for _ in range(100):
        problem, system = ("".join(random.choices(letters, k=random.randint(1, 60))) for _ in range(2))
        asked = [item(problem, chat=False), item(problem), item(problem, system=system)]
        texts = [of.decode(prompt.tokens) for prompt in tokenize(asked, of, 1000, "data").kept]
        user = f"<s>user\n{problem}</s><s>assistant\n"
        assert texts == [f"<bos>{problem}", f"<bos>{user}", f"<bos><s>system\n{system}</s>{user}"]


def test_the_limit_counts_the_whole_chat():
    whole = tokenizer(CHATML)("<s>user\n1</s><s>assistant\n", add_special_tokens=False)["input_ids"]
    assert read(item("1"), CHATML, len(whole)).endswith("assistant\n")
    with pytest.raises(DataError, match=f"data: no prompt has at most {len(whole) - 1} tokens"):
        read(item("1"), CHATML, len(whole) - 1)


def test_a_tokenizer_without_a_template_is_refused():
    with pytest.raises(DataError, match=r"^data\.chat: the model's tokenizer has no chat template; set chat to false"):
        read(item("1"), None)


def test_a_template_that_takes_no_system_message_is_refused_with_the_fix():
    assert read(item("1"), NO_SYSTEM) == "<s>user\n1</s><s>assistant\n"
    with pytest.raises(DataError, match=r"refuses problem i \(System role not supported\); leave system empty"):
        read(item("1", system="s"), NO_SYSTEM)
