"""Drafts of the MTP heads: every token has the main head's distribution, whatever the drafts are."""

import itertools

import pytest
import torch

from trainer.models.demo_base import character_tokenizer
from trainer.models.joint import JointModel, Sequences
from trainer.models.layouts import ATTACHED
from trainer.models.layouts.mimo import MIMO
from trainer.rollout import speculation
from trainer.rollout.builtin import BuiltinEngine
from trainer.rollout.drawing import allowed, draw, log_probs_of
from trainer.rollout.engine import Sampling
from trainer.rollout.speculation import Account, Costs, pays, verify

VOCABULARY = 5
END = 1
ROWS = 40_000


def sampling(**changes) -> Sampling:
    return Sampling(**{"samples": 4, "max_tokens": 12, "temperature": 1.0, "top_p": 1.0, "seed": 1, **changes})


def engine_of(joint) -> BuiltinEngine:
    return BuiltinEngine(joint.trunk, end_token=END, drafter=joint, drafts_always=True)


def make_good(joint):
    """Heads that nearly repeat the main head: what they add to its hidden state is small."""
    with torch.no_grad():
        for depth in joint.mtp:
            depth.eh_proj.weight.normal_(std=0.3)


def distribution(joint, prompt: list[int], asked: Sampling) -> dict[tuple[int, ...], float]:
    """The probability of every response, by the model without cache or batches."""
    result: dict[tuple[int, ...], float] = {}
    open_ones = {(): 1.0}
    for place in range(asked.max_tokens):
        following: dict[tuple[int, ...], float] = {}
        for tokens, probability in open_ones.items():
            logits = joint.trunk(torch.tensor([prompt + list(tokens)])).logits[0, -1]
            given = allowed(log_probs_of(logits, asked), asked).double()
            for token, share in enumerate((given / given.sum()).tolist()):
                target = result if token == END or place + 1 == asked.max_tokens else following
                target[(*tokens, token)] = probability * share
        open_ones = following
    return result


def chi_square_of(responses, expected: dict[tuple[int, ...], float]) -> tuple[float, int]:
    """Pearson's statistic, rare responses counted together, and its degrees of freedom."""
    counted: dict[tuple[int, ...], int] = {}
    for response in responses:
        counted[tuple(response.tokens)] = counted.get(tuple(response.tokens), 0) + 1
    assert all(expected[tokens] > 0 for tokens in counted)
    total, statistic, cells, rare, rare_seen = len(responses), 0.0, 0, 0.0, 0
    for tokens, share in expected.items():
        if share * total < 8:
            rare, rare_seen = rare + share * total, rare_seen + counted.get(tokens, 0)
        else:
            statistic += (counted.get(tokens, 0) - share * total) ** 2 / (share * total)
            cells += 1
    if rare >= 1:
        statistic, cells = statistic + (rare_seen - rare) ** 2 / rare, cells + 1
    return statistic, cells - 1


def is_likely(statistic: float, freedom: int) -> bool:
    """Whether so large a value comes up by chance more often than once in some ten thousand times (Wilson and Hilferty)."""
    return ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / (2 / (9 * freedom)) ** 0.5 < 3.7


@pytest.mark.parametrize(
    ("changes", "depths", "is_good"),
    [
        pytest.param({}, 2, False, marks=pytest.mark.slow),
        pytest.param({}, 2, True, marks=pytest.mark.slow),
        pytest.param({"temperature": 0.7}, 2, False, marks=pytest.mark.slow),
        ({"temperature": 0.7}, 1, True),
        pytest.param({"top_p": 0.7}, 2, False, marks=pytest.mark.slow),
        ({"top_p": 0.7, "top_k": 3}, 1, True),
    ],
)
def test_responses_are_distributed_as_the_main_heads(make_joint, changes, depths, is_good):
    joint = make_joint(depths, vocabulary=VOCABULARY)
    if is_good:
        make_good(joint)
    asked = sampling(samples=ROWS, max_tokens=4, **changes)
    engine = engine_of(joint)
    [responses] = engine.generate([[3, 4, 2]], asked)
    drafted = engine.finish()
    assert drafted.drafts > ROWS // 4
    assert 0 < drafted.accepted[0] < drafted.drafts
    statistic, freedom = chi_square_of(responses, distribution(joint, [3, 4, 2], asked))
    assert freedom > 10 or "top_p" in changes
    assert is_likely(statistic, freedom), (statistic, freedom)


def test_log_probs_are_the_main_heads_of_the_whole_distribution(make_joint):
    joint = make_joint(3)
    prompts = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]
    engine = engine_of(joint)
    for changes in ({"temperature": 0.8}, {"top_p": 0.8}):
        asked = sampling(samples=8, max_tokens=30, **changes)
        for prompt, group in zip(prompts, engine.generate(prompts, asked), strict=True):
            for response in group:
                logits = joint.trunk(torch.tensor([prompt + response.tokens])).logits[0]
                log_probs = log_probs_of(logits, asked)[len(prompt) - 1 : -1]
                expected = log_probs[range(len(response.tokens)), response.tokens].tolist()
                assert response.log_probs == pytest.approx(expected, abs=1e-4)
                assert END not in response.tokens[:-1]
                assert response.truncated == (response.tokens[-1] != END)
                assert not response.truncated or len(response.tokens) == 30


@pytest.mark.parametrize("layout", [ATTACHED, MIMO], ids=lambda layout: layout.name)
def test_acceptance_of_the_first_place_is_what_the_heads_own_forward_pass_predicts(make_joint, layout):
    # Long enough that what depths have read behind earlier drafts matters; no end, so that all rows count alike.
    made = make_joint(2)
    joint = JointModel(made.trunk, list(made.mtp), layout)
    with torch.no_grad():
        joint.trunk.get_decoder().norm.weight.copy_(torch.linspace(-3, 3, 16))
    engine = BuiltinEngine(joint.trunk, end_token=99, drafter=joint, drafts_always=True)
    asked = sampling(samples=400, max_tokens=24)
    [responses] = engine.generate([[3, 4, 5]], asked)
    drafted = engine.finish()
    rows = torch.tensor([[3, 4, 5, *response.tokens] for response in responses])
    batch = Sequences(rows, torch.full((400,), 3), torch.ones(400, 24, dtype=torch.bool))
    first = joint.draft_acceptance(batch, 1.0)[0].sampled.item()
    assert drafted.accepted[0] / drafted.drafts == pytest.approx(first, abs=0.03)
    assert first > 0.1
    others = JointModel(made.trunk, list(made.mtp), MIMO if layout is ATTACHED else ATTACHED)
    assert abs(others.draft_acceptance(batch, 1.0)[0].sampled.item() - first) > 0.04  # or this would tell nothing


def test_a_drafter_that_is_always_right_is_always_believed_and_a_wrong_one_never():
    p = torch.tensor([[[0.5, 0.5, 0.0], [0.25, 0.25, 0.5], [1.0, 0.0, 0.0]]]).expand(1000, 3, 3)
    numbers = torch.rand(1000, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    same = p[:, :2]
    drafted = torch.stack([draw(same[:, place], numbers[:, place]) for place in range(2)], dim=1)
    assert (verify(p, same, drafted, numbers[:, 3:], numbers[:, [0, 1, 2]]).accepted == 2).all()
    wrong = torch.tensor([[[0.0, 0.0, 1.0], [0.0, 0.0, 1.0]]]).expand(1000, 2, 3)
    never = verify(p, wrong, torch.full((1000, 2), 2), numbers[:, 3:], numbers[:, :3])
    assert (never.accepted == 0).all()
    assert set(never.tokens[:, 0].tolist()) == {0, 1}


def test_the_same_seed_gives_the_same_responses_and_prompts_do_not_depend_on_their_neighbours(make_joint):
    engine = engine_of(make_joint(2))
    prompts = [[3, 4, 5], [6], [7, 8, 9, 10, 11], [12, 13]]
    together = engine.generate(prompts, sampling(max_tokens=30))
    assert together == engine.generate(prompts, sampling(max_tokens=30))
    divided = [
        group for at in (0, 3) for group in engine.generate(prompts[at : at + 3], sampling(max_tokens=30, first=at))
    ]
    for group, alone in zip(together, divided, strict=True):
        assert [one.tokens for one in group] == [one.tokens for one in alone]


def test_drafts_are_given_up_where_they_do_not_pay_and_rows_go_on(make_joint, monkeypatch):
    for cost in ("DRAWING", "CHECKING", "DRAFTING"):  # so that drafts of so small a model could pay
        monkeypatch.setattr(speculation, cost, 0.2)
    joint = make_joint(2)
    with torch.no_grad():
        for parameter in joint.mtp.parameters():
            parameter.add_(3 * torch.randn_like(parameter))
    engine = BuiltinEngine(joint.trunk, end_token=99, drafter=joint)
    asked = sampling(samples=2, max_tokens=100)
    [responses] = engine.generate([[3, 4, 5]], asked)
    assert [len(response.tokens) for response in responses] == [100] * 2
    assert 2 <= engine.finish().drafts <= 12
    for prompt, response in zip([[3, 4, 5]] * 2, responses, strict=True):
        logits = joint.trunk(torch.tensor([prompt + response.tokens])).logits[0]
        log_probs = log_probs_of(logits, asked)[len(prompt) - 1 : -1]
        assert response.log_probs == pytest.approx(log_probs[range(100), response.tokens].tolist(), abs=1e-4)
    engine.generate([[3, 4, 5]], sampling(samples=512, max_tokens=6))
    assert engine.finish().drafts == 0


def test_what_heads_are_known_to_be_worth_decides_whether_they_draft_at_all(make_joint, monkeypatch):
    for cost in ("DRAWING", "CHECKING", "DRAFTING"):
        monkeypatch.setattr(speculation, cost, 0.2)
    joint = make_joint(2)
    engine = BuiltinEngine(joint.trunk, end_token=99, drafter=joint)
    engine.generate([[3, 4, 5]], sampling(samples=2, max_tokens=20, acceptance=(0.9, 0.9)))
    assert engine.finish().drafts > 0
    plain = BuiltinEngine(joint.trunk, end_token=99).generate([[3, 4, 5]], sampling(samples=2, max_tokens=20))
    assert engine.generate([[3, 4, 5]], sampling(samples=2, max_tokens=20, acceptance=(0.1, 0.9))) == plain
    assert engine.finish().drafts == 0


def test_drafts_pay_with_few_rows_and_good_heads_only():
    deep = Costs(layers=24, depth=0.05, device="cpu")
    for rows, acceptance in itertools.product((1, 8), ([0.9], [0.9, 0.8])):
        assert pays(rows, acceptance, deep)
    assert not pays(8, [0.05], deep)
    assert not pays(1, [0.3, 0.9], deep)
    assert not pays(512, [0.9, 0.8], deep)
    assert pays(64, [0.9], deep._replace(device="cuda"))
    assert not pays(1, [1.0], Costs(layers=2, depth=0.5, device="cpu"))


def test_drafts_may_lose_what_they_were_lent_and_no_more_whatever_they_gained_before():
    account = Account(Costs(layers=24, depth=0.05, device="cpu"), 1, max_tokens=100)
    assert all(account.book(1, 2.0) for _ in range(100))
    lost = 0
    while account.book(1, 1.0):
        lost += 1
    assert 1 <= lost <= 4


def test_stop_strings_end_responses_within_a_draft(make_joint):
    tokenizer = character_tokenizer()
    joint = make_joint(2, vocabulary=len(tokenizer))
    engine = BuiltinEngine(joint.trunk, END, tokenizer=tokenizer, drafter=joint, drafts_always=True)
    asked = sampling(samples=32, max_tokens=40, temperature=1.5)
    [free] = engine.generate([[3, 4, 5]], asked)
    [stopped] = engine.generate([[3, 4, 5]], Sampling(**{**vars(asked), "stop": ("Z", "a")}))
    for whole, response in zip(free, stopped, strict=True):
        texts = [tokenizer.decode([token]) for token in whole.tokens]
        length = next((n for n, text in enumerate(texts, 1) if "Z" in text or "a" in text), len(texts))
        assert response.tokens == whole.tokens[:length]
