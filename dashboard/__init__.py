"""The browser's side. `app.py` is navigation only; one file per page; charts are pure functions from data to figures."""
