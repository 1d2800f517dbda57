"""How many tokens the prompts of training data have, by the model's own tokenizer and without torch.

The Rust library reads the tokenizer.json that stands beside the model; a chat is put into the model's template by the function that its
tokenizer uses for that. Of many prompts a bounded number is looked at, in even distances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import TemplateError
from tokenizers import Tokenizer

from backend.inspection.data import Source
from trainer.errors import DataError
from trainer.preflight import model_file
from trainer.tasks import Item, load

MOST = 1000
"""Prompts that are looked at: a fraction of a second's worth."""
_SHORTEST = 20
"""Prompts of the fewest characters that are looked at beside those, because one that fits is among them if any does."""
_SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


class Lengths(NamedTuple):
    """Tokens of the prompts that were looked at."""

    prompts: int
    """How many there are."""
    tokens: tuple[int, ...]
    """Of each that was looked at."""
    shortest: int
    """Of the shortest of all, as far as characters say which that is."""

    @property
    def complete(self) -> bool:
        """Whether all were looked at."""
        return len(self.tokens) == self.prompts


class TokenizerFiles(NamedTuple):
    """A model's tokenizer as its files are now."""

    folder: str
    changed: tuple[int, ...]


def tokenizer_of(path: str) -> TokenizerFiles | None:
    """The tokenizer of a model's folder or of one in the hub's cache; None where there is no tokenizer.json on this machine."""
    found = [model_file(path, name) for name in _FILES]
    if found[0] is None or not found[0].is_file():
        return None
    changed = tuple(file.stat().st_mtime_ns if file and file.is_file() else 0 for file in found)
    return TokenizerFiles(str(found[0].parent), changed)


@lru_cache(maxsize=64)
def measure(data: Source, files: TokenizerFiles) -> Lengths | None:
    """Tokens of the prompts; None where the tokenizer cannot be read. Done again only when a file has changed.

    Raises:
        DataError: a problem cannot be read, or the model's chat template refuses or lacks what is asked for.
    """
    items, folder = load(data.section), Path(files.folder)
    try:
        tokenizer = Tokenizer.from_file(str(folder / _FILES[0]))
    except Exception:  # the library has no type of its own for it
        return None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    looked_at = items if len(items) <= MOST else [items[place * len(items) // MOST] for place in range(MOST)]
    short = sorted(items, key=lambda item: len(item.prompt))[:_SHORTEST]
    tokens, fewest = _count(looked_at, tokenizer, folder), _count(short, tokenizer, folder)
    return Lengths(len(items), tuple(tokens), min(*tokens, *fewest))


def _count(items: Sequence[Item], tokenizer: Tokenizer, folder: Path) -> list[int]:
    if not items[0].chat:
        return [len(one.ids) for one in tokenizer.encode_batch([item.prompt for item in items])]
    # The template writes every special token that belongs there: the tokenizer's own would stand there twice.
    return [len(one.ids) for one in tokenizer.encode_batch(_chats(items, folder), add_special_tokens=False)]


def _chats(items: Sequence[Item], folder: Path) -> list[str]:
    # Imported here: it takes a second or two, and most data is asked in plain.
    from transformers.utils.chat_template_utils import render_jinja_template

    template, special = _template(folder)
    if template is None:
        raise DataError(f"the tokenizer in {folder} has no chat template; set data.chat to false")
    turns = [
        [{"role": "system", "content": item.system}] * bool(item.system) + [{"role": "user", "content": item.prompt}]
        for item in items
    ]
    try:
        texts, _ = render_jinja_template(turns, chat_template=template, add_generation_prompt=True, **special)
    except TemplateError as error:  # such as that of a model without a system role
        fix = "leave data.system empty, or set data.chat to false"
        raise DataError(f"the model's chat template refuses the problems ({error}); {fix}") from error
    return list(texts)


def _template(folder: Path) -> tuple[str | None, dict[str, str]]:
    """The model's chat template, and the special tokens that it may name."""
    try:
        config = json.loads((folder / _FILES[1]).read_bytes())
    except (OSError, ValueError, RecursionError):
        config = {}
    if not isinstance(config, dict):
        config = {}
    special = {name: _token(value) for name, value in config.items() if name in _SPECIAL and value}
    if (folder / _FILES[2]).is_file():
        return (folder / _FILES[2]).read_text(encoding="utf-8"), special
    template = config.get("chat_template")
    if isinstance(template, list):  # several by name
        template = next((one.get("template") for one in template if one.get("name") == "default"), None)
    return template, special


def _token(value: Any) -> str:
    return str(value["content"]) if isinstance(value, dict) else str(value)
