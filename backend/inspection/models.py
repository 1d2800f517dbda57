"""What a model is, as far as config.json, headers and the tokenizer's files say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend import words
from backend.inspection import heads as read_heads
from backend.inspection.heads import Heads
from trainer import preflight
from trainer.config import Model
from trainer.models import headers
from trainer.models.headers import TensorFacts
from trainer.models.layouts import Carried, carried
from trainer.models.readable import config_of, json_of

_PARTS = ("embeddings", "layers", "final norm", "lm_head", "MTP heads", "other")


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes of a decoder, as formulas need them."""

    hidden: int
    inner: int
    """Width of the feed-forward part."""
    layers: int
    heads: int
    kv_heads: int
    head_size: int
    vocabulary: int
    tied: bool
    """Whether embeddings and lm_head are one matrix."""
    experts: int = 1
    """Feed-forward parts of a layer that hold parameters; a token goes through `active_experts` of them."""
    active_experts: int = 1

    @property
    def block(self) -> int:
        """Parameters of one layer."""
        attention = self.hidden * self.head_size * (2 * self.heads + 2 * self.kv_heads)
        return attention + 3 * self.hidden * self.inner * self.experts + 2 * self.hidden

    @property
    def around(self) -> int:
        """Parameters of the model outside of its layers: embeddings, lm_head, final norm."""
        return self.vocabulary * self.hidden * (1 if self.tied else 2) + self.hidden

    @property
    def trunk(self) -> int:
        """Parameters of the model without MTP heads."""
        return self.around + self.layers * self.block

    @property
    def depth(self) -> int:
        """Parameters of one MTP depth: projection, three norms, a block."""
        return 2 * self.hidden**2 + 3 * self.hidden + self.block


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What can be said of a model; what cannot be told without fetching it is None."""

    path: str
    folder: Path | None
    """Where its files are on this machine."""
    problems: tuple[str, ...]
    """Why a run could not use it."""
    architecture: str = ""
    parts: Mapping[str, int] | None = None
    """Parameters by part; counted once where embeddings and lm_head are tied."""
    dtypes: tuple[str, ...] = ()
    vocabulary: int | None = None
    positions: int | None = None
    tokenizer: str = ""
    chat_template: bool | None = None
    heads: Heads | None = None
    """None: it has none, so that a run starts new ones."""
    dropped: tuple[str, ...] = ()
    """Tensors that transformers would leave out when it loads the model."""
    bytes: int | None = None
    shape: Shape | None = None

    @property
    def shared(self) -> tuple[str, ...]:
        """What is stored or used more than once, in words."""
        said = ["embeddings and lm_head are one matrix"] if self.shape and self.shape.tied else []
        if self.heads is not None:
            said.append("the heads use the trunk's embeddings and lm_head")
            said += [f"{name} is a copy of the trunk's" for name in self.heads.copies]
        return tuple(said)

    @property
    def bytes_to_train(self) -> int | None:
        """Parameters, gradients and the optimiser's two moments in float32, without activations; None where it is not known how many."""
        if self.trunk_parameters is None:
            return None
        heads = (self.parts or {}).get("MTP heads", 0) or (self.shape.depth if self.shape else 0)
        return 16 * (self.trunk_parameters + heads)

    @property
    def facts(self) -> dict[str, str]:
        """All of it by name, in words."""
        unknown = "not known"
        parts = ", ".join(f"{part} {words.short(count)}" for part, count in (self.parts or {}).items())
        dropped = (
            f"{len(self.dropped)} tensors of the MTP heads; this program reads and saves them"
            if self.dropped
            else "nothing"
        )
        return {
            "Architecture": self.architecture or unknown,
            "Parameters by part": parts or unknown,
            "Dtype": ", ".join(self.dtypes) or unknown,
            "MTP heads": self.heads_words,
            **({"Projection": self._projection} if self.folder else {}),
            "Shared": "; ".join(self.shared) or ("nothing" if self.shape else unknown),
            "transformers drops": dropped if self.folder else unknown,
            "Memory to train": f"{words.size(self.bytes_to_train)} with AdamW in float32, and activations: `mtprl plan`"
            if self.bytes_to_train
            else unknown,
            "Vocabulary": f"{self.vocabulary:,}" if self.vocabulary else unknown,
            "Positions": f"{self.positions:,}" if self.positions else unknown,
            "Tokenizer": self.tokenizer or unknown,
            "Chat template": {True: "yes: data.chat uses it", False: "none", None: unknown}[self.chat_template],
        }

    @property
    def _projection(self) -> str:
        return f"takes {self.heads.projection}" if self.heads else "new heads take [embedding, hidden]"

    @property
    def parameters(self) -> int | None:
        """All of them, heads included."""
        return None if self.parts is None else sum(self.parts.values())

    @property
    def trunk_parameters(self) -> int | None:
        """Those of the model without heads: counted, else computed from its sizes."""
        if self.parts is not None:
            return sum(count for part, count in self.parts.items() if part != "MTP heads")
        return None if self.shape is None else self.shape.trunk

    @property
    def heads_words(self) -> str:
        """What is known of its heads."""
        if self.heads is not None:
            return self.heads.words
        return "none: a run starts new ones from the last block" if self.folder else "not known"


def inspect_model(path: str) -> ModelFacts:
    """What a model's folder, or its copy in the cache of the hub, holds. Reads headers and JSON; fetches nothing."""
    problems = tuple(problem.message for problem in preflight.model_problems(Model(path=path)))
    folder = local_folder(path)
    if folder is None:
        return ModelFacts(path, None, problems)
    config = config_of(folder)
    text = config.get("text_config")
    sizes = text if isinstance(text, Mapping) else config
    found = headers.tensors(folder)
    shape = _shape(sizes)
    own = carried(config, found or {})
    heads = read_heads.published(own, found or {}) if own else read_heads.attached(folder)
    names = config.get("architectures")
    return ModelFacts(
        path=path,
        folder=folder,
        problems=problems,
        architecture=str(names[0]) if isinstance(names, list) and names else str(config.get("model_type", "")),
        parts=_parts(found, own, headers.head_tensors(folder), tied=bool(config.get("tie_word_embeddings"))),
        dtypes=tuple(sorted({tensor.dtype for tensor in (found or {}).values()})),
        vocabulary=_whole(sizes.get("vocab_size")),
        positions=_whole(sizes.get("max_position_embeddings")),
        tokenizer=_tokenizer(folder),
        chat_template=preflight.has_chat_template(path),
        heads=heads,
        dropped=tuple(name for name in found or {} if own and own.holds(name)),
        bytes=sum(file.stat().st_size for file in folder.iterdir() if file.is_file()),
        shape=shape,
    )


def local_folder(path: str) -> Path | None:
    """Where the model's files are on this machine; None where they would have to be fetched."""
    try:
        if Path(path).is_dir():
            return Path(path)
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(path, "config.json")
    except (ValueError, OSError):  # no name of the hub, or too long for a path
        return None
    return Path(found).parent if isinstance(found, str) else None


def _shape(config: Mapping[str, Any]) -> Shape | None:
    """The sizes of a decoder; None where the configuration does not say them in the usual words."""
    hidden, inner, layers = (
        _whole(config.get(f"{name}")) for name in ("hidden_size", "intermediate_size", "num_hidden_layers")
    )
    heads, vocabulary = _whole(config.get("num_attention_heads")), _whole(config.get("vocab_size"))
    if not (hidden and inner and layers and heads and vocabulary):
        return None
    experts = _whole(config.get("num_experts")) or _whole(config.get("n_routed_experts")) or 1
    return Shape(
        hidden=hidden,
        inner=(experts > 1 and _whole(config.get("moe_intermediate_size"))) or inner,
        layers=layers,
        heads=heads,
        kv_heads=_whole(config.get("num_key_value_heads")) or heads,
        head_size=_whole(config.get("head_dim")) or hidden // heads,
        vocabulary=vocabulary,
        tied=bool(config.get("tie_word_embeddings")),
        experts=experts,
        active_experts=(_whole(config.get("num_experts_per_tok")) or 1) if experts > 1 else 1,
    )


def _parts(
    found: Mapping[str, TensorFacts] | None,
    own: Carried | None,
    attached: Mapping[str, TensorFacts],
    *,
    tied: bool,
) -> dict[str, int] | None:
    """Parameters by part; what is stored a second time is not counted again."""
    if found is None:
        return None
    copies = {key for depth in range(own.depths) for key in own.layout.copied(depth, own.layers)} if own else set()
    counts: Counter[str] = Counter()
    for name, tensor in found.items():
        part = "MTP heads" if own and own.holds(name) else _part(name)
        if not (part == "lm_head" and tied) and name not in copies:
            counts[part] += tensor.numbers
    counts["MTP heads"] += sum(tensor.numbers for tensor in attached.values())
    return {part: counts[part] for part in _PARTS if counts[part]}


def _part(name: str) -> str:
    if "embed_tokens" in name or ".wte." in f".{name}":
        return "embeddings"
    if "lm_head" in name:
        return "lm_head"
    if ".layers." in name or ".h." in name:
        return "layers"
    return "final norm" if "norm" in name or "ln_f" in name else "other"


def _tokenizer(folder: Path) -> str:
    name = str(json_of(folder / "tokenizer_config.json").get("tokenizer_class") or "")
    if name:
        return name
    files = [file for file in preflight.TOKENIZERS if (folder / file).is_file()]
    return files[0] if files else ""


def _whole(value: Any) -> int | None:
    return value if type(value) is int and value > 0 else None
