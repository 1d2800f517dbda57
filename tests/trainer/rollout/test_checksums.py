"""Whether what an engine computes with is told from what the trainer holds."""

import torch
from torch import nn

from trainer.rollout.vllm.checksums import checksum, checksums_within, not_within
from trainer.rollout.vllm.processor import expand_batch_to_tokens


def test_a_checksum_sees_every_bit_and_every_place_and_no_shape():
    tensor = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))
    assert checksum(tensor) == checksum(tensor.clone().view(30)) == checksum(tensor.t().contiguous().t())
    seen = {checksum(tensor)}
    for place in range(30):
        other = tensor.clone().view(-1)
        other.view(torch.int32)[place] ^= 1
        seen.add(checksum(other))
    assert len(seen) == 31
    assert checksum(tensor.flip(0)) not in seen
    assert checksum(tensor.bfloat16()) not in seen
    assert 0 <= checksum(tensor) < 2**64


def test_long_tensors_are_summed_in_parts(monkeypatch):
    tensor = torch.randn(1000, generator=torch.Generator().manual_seed(1))
    whole = checksum(tensor)
    monkeypatch.setattr("trainer.rollout.vllm.checksums._AT_ONCE", 7)
    assert checksum(tensor) == whole


class Fused(nn.Module):
    """Three projections of 4, 2 and 2 rows in one parameter, as engines keep them."""

    def __init__(self, *parts):
        super().__init__()
        self.output_partition_sizes = [len(part) for part in parts]
        self.weight = nn.Parameter(torch.cat(parts))


class Vocabulary(nn.Module):
    """Embeddings with rows added."""

    def __init__(self, rows, more):
        super().__init__()
        self.org_vocab_size = len(rows)
        self.weight = nn.Parameter(torch.cat([rows, torch.zeros(more, rows.shape[1])]))


def test_tensors_are_found_however_an_engine_puts_them_together():
    torch.manual_seed(0)
    tensors = {name: torch.randn(rows, 3) for name, rows in {"q": 4, "k": 2, "v": 2, "embed": 5, "norm": 1}.items()}
    model = nn.Sequential(
        Fused(tensors["q"], tensors["k"], tensors["v"]), Vocabulary(tensors["embed"], 3), nn.RMSNorm(3)
    )
    model[2].weight.data.copy_(tensors["norm"][0])
    assert not_within(tensors.items(), checksums_within(model), torch.float32) == []
    tensors["k"] = tensors["k"] + 1e-7
    assert not_within(tensors.items(), checksums_within(model), torch.float32) == ["k"]


def test_tensors_are_found_in_the_engines_dtype_or_in_their_own():
    tensors = {"weight": torch.randn(4, 3), "bias": torch.randn(4)}
    model = nn.Linear(3, 4)
    model.weight = nn.Parameter(tensors["weight"].bfloat16())
    model.bias = nn.Parameter(tensors["bias"])
    found = checksums_within(model)
    assert not_within(tensors.items(), found, torch.bfloat16) == []
    assert not_within(tensors.items(), found, torch.float32) == ["weight"]


def test_each_requests_temperature_is_that_of_its_tokens():
    values = torch.tensor([0.7, 0.0, 2.0])
    expanded = expand_batch_to_tokens(values, torch.tensor([2, 5, 6]), 6, replace_from=0, replace_to=1)
    assert expanded.tolist() == torch.tensor([0.7, 0.7, 1.0, 1.0, 1.0, 2.0]).tolist()
    assert expand_batch_to_tokens(torch.tensor([3, 9]), torch.tensor([0, 2]), 2).tolist() == [9, 9]
