"""Looks at Redis without Celery: does it answer, and which process is it?"""

from __future__ import annotations

from redis import Redis
from redis.exceptions import RedisError

_SECONDS = 2.0


def answers(url: str | None) -> bool:
    """Whether a Redis at this address answers within two seconds; False without an address."""
    if url is None:
        return False
    try:
        with _client(url) as client:
            return bool(client.ping())
    except (RedisError, OSError, ValueError):
        return False


def server_pid(url: str) -> int | None:
    """The process id of the Redis that answers at this address; None where none does."""
    try:
        with _client(url) as client:
            return int(client.info("server")["process_id"])
    except (RedisError, OSError, ValueError, KeyError):
        return None


def eviction_policy(url: str | None) -> str | None:
    """What the Redis at this address does when its memory is full; None where it does not say."""
    if url is None:
        return None
    try:
        with _client(url) as client:
            return str(client.info("memory")["maxmemory_policy"])
    except (RedisError, OSError, ValueError, KeyError):
        return None


def _client(url: str) -> Redis:
    return Redis.from_url(url, socket_connect_timeout=_SECONDS, socket_timeout=_SECONDS, retry=None)
