"""What is told of drafts."""

from trainer.rollout.engine import Drafted, drafted_in_all


def test_acceptance_is_the_share_of_all_drafts_place_by_place():
    assert Drafted(8, (6, 2)).metrics() == {
        "rollout/draft_acceptance_1": 0.75,
        "rollout/draft_acceptance_2": 0.25,
        "rollout/tokens_per_draft": 2.0,
    }


def test_where_nothing_was_drafted_nothing_is_told():
    assert Drafted().metrics() == {}
    assert drafted_in_all([Drafted(), Drafted()]) == Drafted()


def test_engines_count_together_even_where_one_drafted_nothing_or_less_far():
    assert drafted_in_all([Drafted(8, (6, 2)), Drafted(), Drafted(2, (1,))]) == Drafted(10, (7, 2))
