"""The rule of the queue, on paper: who is next, where, and for what the others wait."""

from __future__ import annotations

import random

from db.queue import Device, Offer, Waiting, turns

ALPHA, BETA = Offer("a", "alpha", ("0", "1", "2", "3")), Offer("b", "beta", ("0", "1"))


def waiting(*devices: int) -> list[Waiting]:
    """A queue of runs 1, 2, ... that ask for so many devices."""
    return [Waiting(number, 0, 0, wanted, "", "") for number, wanted in enumerate(devices, 1)]


def taken(*names: str) -> set[Device]:
    """Devices by host and name, such as alpha:0."""
    return {Device(*name.split(":")) for name in names}


def outcome(queue, offers, leased=frozenset(), preferred=None) -> list[tuple[str | None, str | None, int]]:
    """For each run: the worker that it gets, the one that it waits for, and how many devices are free there."""
    return [
        (turn.given and turn.given.worker, turn.held and turn.held.worker, turn.free)
        for turn in turns(queue, offers, set(leased), preferred)
    ]


def test_a_run_gets_the_worker_with_most_free_devices_unless_another_one_asks():
    assert outcome(waiting(1), [ALPHA, BETA]) == [("a", None, 4)]
    assert outcome(waiting(1), [ALPHA, BETA], preferred=BETA) == [("b", None, 2)]
    [turn] = turns(waiting(2), [ALPHA], taken("alpha:0", "alpha:2", "beta:1"))
    assert turn.devices == (Device("alpha", "1"), Device("alpha", "3"))


def test_a_run_that_waits_holds_one_worker_and_no_more():
    leased = taken("alpha:0", "beta:0")
    # 4 holds alpha, where 2 has to wait, too; on beta the 1 behind them starts.
    assert outcome(waiting(4, 1, 1), [ALPHA, BETA], leased) == [(None, "a", 3), ("b", None, 1), (None, "b", 0)]
    assert outcome(waiting(4, 4), [ALPHA, BETA], leased) == [(None, "a", 3), (None, None, 0)]


def test_a_run_that_no_worker_could_ever_serve_holds_nothing():
    assert outcome(waiting(8, 2), [ALPHA, BETA]) == [(None, None, 0), ("a", None, 4)]


def test_what_a_worker_cannot_serve_for_another_reason_is_not_held_there():
    unseen = turns(waiting(1), [BETA], set(), BETA, serves=lambda run, offer: False)
    assert [turn.given for turn in unseen] == [None]


def test_workers_that_share_devices_do_not_give_them_twice():
    twin = Offer("b", "alpha", ("2", "3"))
    given = [device for turn in turns(waiting(2, 2, 2), [ALPHA, twin], set()) for device in turn.devices]
    assert sorted(given) == sorted(ALPHA.devices)


def test_a_big_run_starts_in_the_end_however_many_small_ones_come():
    """Random lengths, on two workers: the big run is served after those that ran before it came, and those only."""
    for seed in range(50):
        rng, offers = random.Random(seed), [ALPHA, BETA]
        running: dict[Device, int] = {}
        for clock in range(200):
            running = {device: end for device, end in running.items() if end > clock}
            queue = ([Waiting(0, 0, 0, 4, "", "")] if clock >= 10 else []) + waiting(*rng.choices([1, 2], k=4))
            mine = rng.choice(offers)
            served = [turn for turn in turns(queue, offers, set(running), mine) if turn.given is mine]
            for turn in served:
                running |= dict.fromkeys(turn.devices, clock + rng.randint(1, 9))
            if any(turn.run.run_id == 0 for turn in served):
                break
        assert 10 <= clock < 40, f"seed {seed}: the big run waits at {clock}"
