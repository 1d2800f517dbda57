"""What each token of a completion adds to its text."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from trainer.update.tokens import Texts


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token per byte."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: place for place, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<eos>"])
    return PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<eos>")


def metaspace_tokenizer() -> PreTrainedTokenizerFast:
    """Words that begin with a space, which decoding leaves out where the text begins."""
    made = Tokenizer(models.WordLevel({"\u2581two": 0, "\u2581is": 1, "!": 2, "<unk>": 3}, unk_token="<unk>"))
    made.decoder = decoders.Metaspace()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>")


@pytest.mark.parametrize("text", ["plain", "naïve – 数学 🙂!", " é\n\n é", ""])
def test_the_texts_of_bytes_are_whole_characters_and_together_the_text(text):
    tokenizer = byte_tokenizer()
    tokens = tokenizer(text)["input_ids"] + [tokenizer.eos_token_id]
    texts = Texts(tokenizer).of(tokens)
    assert len(texts) == len(tokens)
    assert "".join(texts) == text + "<eos>"
    assert [part for part in texts if part] == [*text, "<eos>"]


def test_bytes_that_are_no_text_are_shown_as_such_and_spoil_nothing_around_them():
    tokenizer = byte_tokenizer()
    letters = tokenizer.get_vocab()
    broken = letters["\u0142"]  # how byte-level tokenizers write one that begins no character
    tokens = [letters["a"], broken, *[broken] * 5, letters["b"], *tokenizer("é")["input_ids"][:1]]
    texts = Texts(tokenizer).of(tokens)
    assert len(texts) == len(tokens)
    assert texts[0] == "a"
    assert "".join(texts).replace("\ufffd", "") == "ab"
    assert texts[-1].endswith("\ufffd")


def test_a_space_that_decoding_leaves_out_at_the_beginning_is_there():
    assert Texts(metaspace_tokenizer()).of([0, 1, 0, 2]) == [" two", " is", " two", "!"]
