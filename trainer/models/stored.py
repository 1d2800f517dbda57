"""What a model's folder holds, so that it can be written again: every tensor under its name, in its dtype and file, and the other files.

A checkpoint in full precision lies in float32 whatever it was loaded from; `stored_dtypes.json` in it keeps what the tensors' dtypes are otherwise.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from trainer.errors import ModelError
from trainer.models import headers
from trainer.models.headers import INDEX_FILE, TensorFacts

DTYPES_FILE = "stored_dtypes.json"
_LARGEST_OTHER = 64 * 2**20
"""Bytes of a file that is kept beside the weights: tokenizers have up to 20 MB."""
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".onnx")
_DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class Stored(NamedTuple):
    """The folder that a model was loaded from."""

    folder: Path
    tensors: Mapping[str, TensorFacts]
    """The model's own weights, heads of a published layout among them."""
    dtypes: Mapping[str, str]
    """The dtype in which each is stored; in a folder of full precision, in which each is to be stored otherwise."""
    has_index: bool
    files: Mapping[str, bytes]
    """Everything beside the weights: configuration, tokenizer, chat template, ..."""

    def dtype(self, name: str) -> torch.dtype | None:
        """In which a tensor is stored; None for one that is not a model's float."""
        return _DTYPES.get(self.dtypes[name])

    def read(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Some of the tensors, as they lie there.

        Raises:
            ModelError: they cannot be read.
        """
        by_file: dict[str, list[str]] = defaultdict(list)
        for name in names:
            by_file[self.tensors[name].file].append(name)
        found: dict[str, Tensor] = {}
        for file, wanted in by_file.items():
            try:
                with safe_open(self.folder / file, framework="pt") as opened:
                    found |= {name: opened.get_tensor(name) for name in wanted}
            except (OSError, SafetensorError) as error:
                raise ModelError(
                    f"{self.folder / file}: {wanted[0]} cannot be read ({error}); put the model back where the run found it"
                ) from error
        return found


def look_at(folder: Path) -> Stored | None:
    """What a folder holds; None where its weights are in no safetensors file that can be read."""
    tensors = headers.tensors(folder)
    if tensors is None:
        return None
    files = {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if _is_other(file)}
    dtypes = {name: facts.dtype for name, facts in tensors.items()}
    if DTYPES_FILE in files:
        dtypes = _unpacked(files.pop(DTYPES_FILE), dtypes)
    return Stored(folder, tensors, dtypes, (folder / INDEX_FILE).is_file(), files)


def write(
    stored: Stored, named: Iterable[tuple[str, Tensor]], folder: Path, *, full_precision: bool, indexed: bool
) -> None:
    """Write a model as it was stored: each tensor under its name in the file of that name, and all other files.

    Args:
        stored: what it was loaded from.
        named: the tensors that replace those; what is not among them is copied.
        folder: exists, and is another one.
        full_precision: float32 and what is finer, where otherwise each tensor gets the dtype in which it was stored.
        indexed: whether an index is written in any case.

    Raises:
        ModelError: a tensor that is to be copied cannot be read.
    """
    waiting: dict[str, set[str]] = defaultdict(set)
    for name, facts in stored.tensors.items():
        waiting[facts.file].add(name)
    shards: dict[str, dict[str, Tensor]] = defaultdict(dict)
    sizes: Counter[str] = Counter()
    for name, tensor in named:
        file = stored.tensors[name].file
        kept = tensor.dtype if full_precision else stored.dtype(name) or tensor.dtype
        shards[file][name] = tensor.detach().to("cpu", kept, copy=True).contiguous()  # two names may share one storage
        waiting[file].discard(name)
        if not waiting[file]:
            _write_shard(folder / file, shards.pop(file), sizes)
    for file, left in waiting.items():
        if left:
            _write_shard(folder / file, shards.pop(file, {}) | stored.read(sorted(left)), sizes)
    if indexed or stored.has_index or len(waiting) > 1:
        write_index(folder, {name: facts.file for name, facts in stored.tensors.items()}, sizes.total())
    for name, content in stored.files.items():
        (folder / name).write_bytes(content)
    _note_dtypes(stored, folder, full_precision=full_precision)


def write_index(folder: Path, files: Mapping[str, str], size: int) -> None:
    """Say which file holds which tensor.

    Args:
        folder: of the model.
        files: tensor -> file.
        size: bytes of all tensors.
    """
    index = {"metadata": {"total_size": size}, "weight_map": dict(sorted(files.items()))}
    (folder / INDEX_FILE).write_text(json.dumps(index, indent=2) + "\n")


def _write_shard(file: Path, tensors: dict[str, Tensor], sizes: Counter[str]) -> None:
    save_file(tensors, file, metadata={"format": "pt"})
    sizes[file.name] = sum(tensor.nbytes for tensor in tensors.values())


def _note_dtypes(stored: Stored, folder: Path, *, full_precision: bool) -> None:
    """In full precision, keep the stored dtypes; have config.json say the dtype that is written, where it said another of the two."""
    usual = Counter(stored.dtypes.values()).most_common(1)[0][0]
    lies_in_full = any(facts.dtype != stored.dtypes[name] for name, facts in stored.tensors.items())
    if full_precision and set(stored.dtypes.values()) & {"F16", "BF16"}:
        others = {name: dtype for name, dtype in stored.dtypes.items() if dtype != usual}
        (folder / DTYPES_FILE).write_text(json.dumps({"dtype": usual, "others": others}, indent=1) + "\n")
        _say_dtype(folder / "config.json", "float32")
    elif lies_in_full and not full_precision and usual in _DTYPES:
        _say_dtype(folder / "config.json", str(_DTYPES[usual]).removeprefix("torch."))


def _say_dtype(file: Path, dtype: str) -> None:
    config: dict[str, Any] = json.loads(file.read_bytes())
    sections = [config, *(config[name] for name in ("text_config",) if isinstance(config.get(name), dict))]
    for section in sections:
        section.update({key: dtype for key in ("dtype", "torch_dtype") if section.get(key)})
    file.write_text(json.dumps(config, indent=2) + "\n")


def _unpacked(content: bytes, dtypes: Mapping[str, str]) -> dict[str, str]:
    """What DTYPES_FILE says of each tensor; of one that it does not know, its own dtype."""
    try:
        noted = json.loads(content)
        usual, others = str(noted["dtype"]), dict(noted["others"])
    except (ValueError, LookupError, TypeError):
        return dict(dtypes)
    return {name: str(others.get(name, usual)) for name in dtypes}


def _is_other(file: Path) -> bool:
    return (
        file.is_file()
        and not file.name.startswith(".")
        and file.suffix not in _WEIGHTS
        and not file.name.endswith(".index.json")
        and file.stat().st_size <= _LARGEST_OTHER
    )
