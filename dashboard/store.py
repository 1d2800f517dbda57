"""The store as pages use it: what goes wrong is said in words on the page, which then ends; never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from backend import store
from trainer.errors import ConfigError, MtprlError, Problem, StoreError

NOT_READY = (
    "The store is not there yet, or was made by another version of the program: run `mtprl up`, then reload this page."
)
UNREACHABLE = "The store does not answer. This page tries again by itself; if it stays so, run `mtprl doctor`."


@contextmanager
def reading() -> Iterator[Connection]:
    """A read-only look at the store; where it cannot be had, the page or fragment says why and ends."""
    try:
        if not store.is_ready():
            st.warning(NOT_READY, icon=":material/database_off:")
            st.stop()
        with store.reading() as connection:
            yield connection
    except MtprlError as error:
        st.error(str(error), icon=":material/error:")
        st.stop()
    except SQLAlchemyError:
        st.error(UNREACHABLE, icon=":material/error:")
        st.stop()


@contextmanager
def errors_as_problems() -> Iterator[None]:
    """Report what keeps a service from doing its work as a problem of no field, so that the form can show it and keep its values.

    Raises:
        ConfigError: instead of any other error in words.
    """
    try:
        if not store.is_ready():
            raise StoreError(NOT_READY)
        yield
    except ConfigError:
        raise
    except MtprlError as error:
        raise ConfigError([Problem("", str(error))]) from None
    except SQLAlchemyError:
        raise ConfigError([Problem("", UNREACHABLE)]) from None
