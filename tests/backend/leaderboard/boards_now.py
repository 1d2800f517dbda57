"""What the tests of this folder share."""

from backend import store
from backend.leaderboard import Board, leaderboard


def boards(experiment: str | None = None, **asked: bool) -> list[Board]:
    """The boards of the store."""
    with store.reading() as connection:
        return leaderboard(connection, experiment, **asked)
