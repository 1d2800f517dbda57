"""Alerts, as the command line and the page make them: each call is one transaction and says what it did."""

from __future__ import annotations

import time

from backend import store
from db import alerts
from db.rules import Rule


def add(rule: Rule) -> str:
    """Store a rule.

    Raises:
        StoreError: it is refused, in words.
    """
    with store.writing() as connection:
        alerts.add(connection, rule, time.time())
    return f"alert {rule.name!r}: {rule.condition}, of {rule.scope}; it looks at what comes from now on"


def switch(name: str, active: bool) -> str:
    """Switch a rule on or off.

    Raises:
        StoreError: there is no such rule.
    """
    with store.writing() as connection:
        alerts.switch(connection, name, active, time.time())
    return (
        f"alert {name!r} {'looks at what comes from now on' if active else 'is switched off, and over where it was on'}"
    )


def remove(name: str) -> str:
    """Remove a rule.

    Raises:
        StoreError: there is no such rule.
    """
    with store.writing() as connection:
        alerts.remove(connection, name, time.time())
    return f"alert {name!r} is removed; what it has said stays in the events of the runs"
