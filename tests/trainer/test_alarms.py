"""Alarms over step metrics: when each begins and ends, what it says, and that a restored watch goes on where it was."""

import json

import pytest

from trainer.alarms import NAMES, Watch
from trainer.config import parse

CLIPPED = {"kind": "occ", "reference": "own", "clip": [0, 1]}


def config(regime=None, **sections):
    return parse(
        {
            "model": {"path": "unused", "mtp_depths": 2},
            "data": {"kind": "jsonl", "path": "unused"},
            "regime": regime or {"kind": "detach"},
            "alarms": {"steps": 3, "coefficient_steps": 4},
            **sections,
        }
    )


def healthy(**changed):
    return {
        "policy/entropy": 0.5,
        "reward/accuracy": 0.6,
        "reward/zero_variance_fraction": 0.2,
        "mtp/acceptance_greedy": 0.9,
        "mtp/depth_2/acceptance_greedy": 0.8,
        "rollout/log_prob_gap": 0.001,
        **{name.replace("__", "/"): value for name, value in changed.items()},
    }


def parts(*coefficients, depth_2=0.5):
    return [{"mtp/coefficient": value, "mtp/depth_2/coefficient": depth_2} for value in coefficients]


def heard(watch, steps, first=1):
    """(step, severity, name) of every notice over steps of (metrics, mini-batches)."""
    return [
        (step, notice.severity, notice.name)
        for step, (metrics, mini_batches) in enumerate(steps, start=first)
        for notice in watch.observe(step, metrics, mini_batches)
    ]


def started(watch):
    """The watch after five healthy steps, in which no alarm begins."""
    assert heard(watch, [(healthy(), parts(0, 0.5, 0.2))] * 5) == []
    return watch


def test_an_alarm_begins_once_and_ends_once():
    watch = started(Watch(config()))
    low, high = (healthy(policy__entropy=0.04), []), (healthy(policy__entropy=0.06), [])
    notices = heard(watch, [low] * 8 + [high] * 8 + [low] * 3, first=6)
    name = "entropy_collapse"
    assert notices == [(8, "warning", name), (16, "info", name), (24, "warning", name)]


def test_a_condition_that_comes_and_goes_neither_begins_nor_ends_an_alarm():
    watch = started(Watch(config()))
    low, high = (healthy(policy__entropy=0.04), []), (healthy(policy__entropy=0.06), [])
    assert heard(watch, [low, low, high] * 5, first=6) == []
    assert heard(watch, [low] * 3, first=21) == [(23, "warning", "entropy_collapse")]
    assert heard(watch, [high, high, low] * 5, first=24) == []


def test_entropy_is_compared_with_the_mean_of_the_first_five_steps_and_the_message_has_the_numbers():
    watch = Watch(config(alarms={"steps": 2, "entropy_fraction": 0.5}))
    for step, entropy in enumerate([1.0, 2.0, 3.0, 4.0, 5.0, 1.45], start=1):
        assert watch.observe(step, healthy(policy__entropy=entropy), []) == []
    [notice] = watch.observe(7, healthy(policy__entropy=1.4), [])
    assert notice.message.startswith(
        "policy/entropy below 50 % of its mean over the first 5 steps since step 6 (1.4 against 3 in step 7). "
    )
    assert "optimizer.lr" in notice.message
    watch.observe(8, healthy(policy__entropy=2.0), [])
    [notice] = watch.observe(9, healthy(policy__entropy=2.0), [])
    assert notice.message == (
        "over since step 8: policy/entropy below 50 % of its mean over the first 5 steps (2 against 3 in step 9)"
    )


def test_acceptance_of_every_depth_is_watched():
    watch = started(Watch(config()))
    steps = [(healthy(**{"mtp/depth_2/acceptance_greedy": 0.39}), [])] * 3
    assert heard(watch, steps, first=6) == [(8, "warning", "acceptance_collapse/depth_2")]
    steps = [(healthy(**{"mtp/acceptance_greedy": 0.44, "mtp/depth_2/acceptance_greedy": 0.39}), [])] * 3
    assert heard(watch, steps, first=9) == [(11, "warning", "acceptance_collapse")]


def test_a_step_without_an_acceptance_counts_neither_way():
    watch = started(Watch(config()))
    low = (healthy(mtp__acceptance_greedy=0.1), [])
    nothing = (healthy(mtp__acceptance_greedy=float("nan")), [])
    assert heard(watch, [low, low, nothing, nothing, low], first=6) == [(10, "warning", "acceptance_collapse")]


@pytest.mark.parametrize(
    ("regime", "head_loss", "says"),
    [
        ({"kind": "off"}, "regime", "use detach"),
        ({"kind": "detach"}, "regime", "mtp.head_loss_scale"),
        ({"kind": "occ"}, "regime", "Set mtp.head_loss to ce"),
        ({"kind": "policy"}, "none", "Set mtp.head_loss to ce"),
        ({"kind": "occ"}, "ce", "mtp.head_loss_scale"),
    ],
)
def test_the_advice_on_acceptance_is_one_that_the_configuration_can_follow(regime, head_loss, says):
    watch = started(Watch(config(regime, mtp={"head_loss": head_loss})))
    low = healthy(mtp__acceptance_greedy=0.1)
    notices = [notice for step in (6, 7, 8) for notice in watch.observe(step, low, parts(0, 0.5))]
    assert says in notices[0].message


def test_a_coefficient_that_stays_on_its_bounds_is_an_alarm_the_mini_batch_that_is_0_by_rule_apart():
    watch = started(Watch(config(CLIPPED)))
    stuck, free = (healthy(), parts(0, 1, 0)), (healthy(), parts(0, 1, 0.999))
    name = "coefficient_at_clip"
    assert heard(watch, [stuck, stuck, stuck, free, stuck, stuck, stuck, stuck], first=6) == [(13, "warning", name)]
    assert heard(watch, [free] * 4, first=14) == [(17, "info", name)]
    only_by_rule = (healthy(), parts(0, 0.5, 0.5))
    assert heard(watch, [only_by_rule] * 9, first=18) == []


def test_every_depth_has_a_coefficient_of_its_own():
    watch = started(Watch(config(CLIPPED)))
    steps = [(healthy(), parts(0, 0.5, 0.5, depth_2=1))] * 4
    assert heard(watch, steps, first=6) == [(9, "warning", "coefficient_at_clip/depth_2")]


@pytest.mark.parametrize(
    ("regime", "begins"),
    [
        ({**CLIPPED, "reference": "main", "exact_every": 2}, False),
        ({"kind": "oracle", "clip": [0, 1]}, False),
        (CLIPPED, True),
        ({"kind": "occ"}, False),
        ({"kind": "policy"}, False),
    ],
)
def test_where_no_mini_batch_is_0_by_rule_the_first_one_counts(regime, begins):
    watch = started(Watch(config(regime)))
    notices = heard(watch, [(healthy(), parts(0.5, 1, 1))] * 4, first=6)
    assert [name for _, _, name in notices] == (["coefficient_at_clip"] if begins else [])


@pytest.mark.parametrize(("extra", "says"), [({}, True), ({"estimator": "token_mean"}, False), ({"ema": 0.5}, False)])
def test_the_advice_names_ema_only_where_it_can_be_set(extra, says):
    watch = started(Watch(config({**CLIPPED, **extra})))
    stuck = [notice for step in range(6, 10) for notice in watch.observe(step, healthy(), parts(0, 1, 1))]
    assert ("regime.ema" in stuck[0].message) == says


@pytest.mark.parametrize(("accuracy", "says"), [(0.98, "harder"), (0.01, "easier")])
def test_prompts_without_variance_are_an_alarm_that_says_which_way_to_go(accuracy, says):
    watch = Watch(config())
    empty = healthy(reward__zero_variance_fraction=0.91, reward__accuracy=accuracy)
    assert heard(watch, [(healthy(reward__zero_variance_fraction=0.9), [])] * 5) == []
    notices = [notice for step in (6, 7, 8) for notice in watch.observe(step, empty, [])]
    assert [notice.name for notice in notices] == ["zero_variance"]
    assert (
        f"teach nothing, while optimizer.weight_decay goes on making parameters smaller. Take {says} problems"
        in notices[0].message
    )


def test_thresholds_at_their_ends_switch_an_alarm_off():
    watch = Watch(
        config(alarms={"steps": 1, "entropy_fraction": 0, "acceptance_fraction": 0, "zero_variance_share": 1})
    )
    started(watch)
    dead = {"mtp/depth_2/acceptance_greedy": 0.0, "policy/entropy": 0.0, "mtp/acceptance_greedy": 0.0}
    assert heard(watch, [(healthy(**dead, reward__zero_variance_fraction=1.0), [])] * 9, first=6) == []


@pytest.mark.parametrize("stop", [2, 4, 7, 9, 12])
def test_a_watch_restored_from_plain_values_says_what_the_uninterrupted_one_says(stop):
    low, high = (healthy(policy__entropy=0.04), parts(0, 1, 1)), (healthy(), parts(0, 0.5, 0.5))
    steps = [high] * 5 + [low] * 5 + [high] * 5
    whole = heard(Watch(config(CLIPPED)), steps)
    assert {name for _, _, name in whole} == {"entropy_collapse", "coefficient_at_clip"} <= set(NAMES)
    before, after = Watch(config(CLIPPED)), Watch(config(CLIPPED))
    said = heard(before, steps[:stop])
    after.restore(json.loads(json.dumps(before.state())))
    assert said + heard(after, steps[stop:], first=stop + 1) == whole


def test_a_sampler_that_is_not_the_trainers_policy_is_told():
    watch = started(Watch(config()))
    off, well = (healthy(rollout__log_prob_gap=0.06), []), (healthy(rollout__log_prob_gap=0.04), [])
    assert heard(watch, [off, off, well, off, off], first=6) == []
    watch = started(Watch(config()))
    [notice] = [notice for step in (6, 7, 8) for notice in watch.observe(step, *off)]
    assert notice.name == "log_prob_gap"
    assert "rollout/log_prob_gap above 0.05 nats since step 6 (0.06 in step 8)" in notice.message
    assert heard(Watch(config(alarms={"log_prob_gap": 0, "steps": 1})), [off] * 3) == []


def test_a_sampler_that_is_not_the_trainers_policy_is_told_with_what_to_try():
    def advice(**rollout):
        watch = Watch(config(alarms={"steps": 1}, rollout=rollout))
        [notice] = watch.observe(1, healthy(rollout__log_prob_gap=1.0), [])
        return notice.message

    assert advice().endswith("Set model.mixed_precision to no and see whether that is why.")
    assert "rollout.engine to builtin" in advice(engine="vllm")
