"""The words of what is seen: made-up effects, and their opposites, must be told as they are."""

import pytest

from benchmarks import plan, seen
from benchmarks.comparisons import JOINT
from benchmarks.intervals import mean
from benchmarks.records import Records, blocks
from benchmarks.wording import said, sides

NAMES = [arm.name for arm in plan.ARMS]


@pytest.fixture
def told(made):
    """The section on given runs, by title."""

    def tell(rows, oracle: float = 2.0) -> dict[str, str]:
        lines = seen.section(Records(rows, made.about(oracle)), blocks(rows, "main", NAMES), [], ["FIGURE"])
        titled = "\n".join(lines).split("### ")[1:]
        return {part.partition("\n")[0]: part.partition("\n")[2] for part in titled}

    return tell


def test_sections_and_their_order(made, told):
    titles = [
        "Accuracy",
        "Against the paper's order",
        "Draft acceptance",
        "What the audit shows",
        "Cost",
        "What would change it",
    ]
    assert list(told(made.main())) == titles


def test_an_arm_above_detach_is_said_to_be_above_and_its_opposite_below(made, told):
    up, down = (told(made.main({"occ": shift}))["Accuracy"] for shift in (0.03, -0.03))
    assert (
        f"Of the {len(JOINT)} arms whose MTP loss reaches the trunk, compared with detach, 1 end above it: occ (+" in up
    )
    assert "0 end below it: none" in up
    assert "compared with detach, none ends above it**; 1 end below it: occ (-" in down
    between = next(line for line in up.splitlines() if "occ, own reference − occ (" in line)
    assert "as reference): -2." in between
    assert between.endswith("points, below 0 (p < 0.001 adjusted for 7 comparisons).")


def test_nothing_planted_is_nothing_seen(made, told):
    nothing = told(made.main())["Accuracy"]
    assert "none ends above it**; 0 end below it: none" in nothing
    assert "No difference could be seen: ce 0.1 (" in nothing
    assert "Below where they started" not in nothing


def test_other_learning_rates_of_detach_are_no_joint_training(made, told):
    found = told(made.main({"detach, 1.5 lr": 0.03, "detach, 2 lr": -0.03}))["Accuracy"]
    assert "none ends above it**; 0 end below it: none" in found
    assert "Above detach: detach, 1.5 lr (+" in found
    assert "Below it: detach, 2 lr (-" in found


def test_a_ruined_arm_is_named_and_its_acceptance_with_it(made, told):
    found = told(made.main({"ce 1": -0.5}, greedy={"ce 1": 0.1}))
    assert (
        "* Below where they started: ce 1 on sorting, dapo; ce 1 on sorting, gspo; ce 1 on addition, dapo;"
        in found["Accuracy"]
    )
    assert "Acceptance of ce 1 says nothing" in found["Draft acceptance"]
    assert "says nothing" not in told(made.main())["Draft acceptance"]


def test_the_papers_order_is_seen_or_its_opposite_or_neither(made, told):
    paper = {"occ": 0.03, "occ-official": 0.03, "policy 1": -0.03, "policy 0.1": -0.03, "ce 1": -0.06, "ce 0.1": -0.06}
    titles = {1: "seen", -1: "the opposite is seen", 0: "not seen"}
    for sign, verdict in titles.items():
        found = told(made.main({arm: sign * shift for arm, shift in paper.items()}))["Against the paper's order"]
        verdicts = [line.split("|")[3].strip() for line in found.splitlines() if line.startswith("|")][2:]
        assert verdicts == [verdict] * len(seen.PAPER)


def test_acceptance_lost_and_gained(made, told):
    lost, gained = {"occ": -0.04}, {"occ-calibrated": 0.03}
    found = told(made.main(greedy=lost | gained, sampled={"policy 1": -0.04, "ce 0.1": 0.03}))["Draft acceptance"]
    greedy, sampled, *between = [line for line in found.splitlines() if line.startswith("* ")]
    assert greedy.startswith("* Greedy, 13 comparisons. Lost: occ (-")
    assert "Gained: occ-calibrated (+" in greedy
    assert sampled.startswith("* Sampled, 13 comparisons. Lost: policy 1 (-")
    assert "Gained: ce 0.1 (+" in sampled
    assert between[0].startswith("* occ-calibrated − occ, greedy: +7.")
    assert between[1].endswith("no difference could be seen.")
    turned = {arm: -shift for arm, shift in (lost | gained).items()}
    greedy = told(made.main(greedy=turned))["Draft acceptance"].partition("* Sampled")[0]
    assert "Lost: occ-calibrated (-" in greedy
    assert "Gained: occ (+" in greedy


def test_cost_is_told_only_beyond_what_equal_work_differs_by(made, told):
    assert "* Dearer than detach: oracle (2.30 / 2.30)." in told(made.main(), oracle=2.3)["Cost"]
    alike = told(made.main(), oracle=1.015)["Cost"]
    assert "differ by up to 0.02" in alike
    assert "* Dearer than detach: none." in alike
    assert "oracle (1.01 / 1.01)" in alike.partition("Nothing visible")[2]


def test_a_run_that_broke_off_pulls_its_arm_down(made, told):
    rows = made.main({"occ": 0.03})
    for row in rows:
        if row["arm"] == "occ" and row["seed"] in (1, 3):
            row["failed"] = "loss is NaN"
            del row["final"], row["auc"]
    found = told(rows)["Accuracy"]
    assert "none ends above it" in found
    assert "No difference could be seen" in found
    assert "occ (-22." in found


def test_one_difference_in_words():
    surely, hardly, not_at_all = ([x + shift for x in (-0.01, 0.0, 0.01)] for shift in (0.1, 0.027, 0.0))
    assert said(mean(surely), 0.01, 4) == "+10.00 ± 2.48 points, above 0 (p 0.010 adjusted for 4 comparisons)"
    assert said(mean([-x for x in surely]), 0.01, 4).startswith("-10.00 ± 2.48 points, below 0 (p 0.010")
    alone = said(mean(hardly), 0.2, 4)
    assert alone == "+2.70 ± 2.48 points, above 0 taken alone (p 0.043), but not among 4 comparisons (p 0.20)"
    assert said(mean(not_at_all), 1.0, 4) == "+0.00 ± 2.48 points, no difference could be seen"
    assert said(None, None, 4) == "not measured"


def test_sides_go_by_the_adjusted_p():
    hardly = mean([0.017, 0.027, 0.037])
    assert sides({"a": hardly}).above == ["a"]
    both = sides({"a": hardly, "b": mean([-0.1, 0.0, 0.11]), "c": mean([-0.11, -0.1, -0.09]), "same": mean([0.0, 0.0])})
    assert both[:4] == ([], ["c"], ["a"], ["b", "same"])
    assert both.compared == 3
