"""Navigation only. Start with `python -m streamlit run dashboard/server.py` from the repository's root, or with `mtprl up`."""

from pathlib import Path

import streamlit as st

from backend.settings import LOCAL_ADDRESS
from dashboard import markup, navigation

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="MTP-RL", page_icon=ASSETS / "icon.svg", layout="wide")
if st.get_option("server.address") not in (LOCAL_ADDRESS, "localhost"):
    st.error(
        f"The dashboard has no accounts yet, so it answers at {LOCAL_ADDRESS} alone. Start it with `mtprl up` or `mtprl dashboard`, or with "
        f"`--server.address {LOCAL_ADDRESS}`."
    )
    st.stop()
st.logo(ASSETS / "logo.svg", size="large")
st.html(markup.STYLE)
page = st.navigation(
    [
        navigation.runs(),
        navigation.new_run(),
        navigation.compare(),
        navigation.leaderboard(),
        navigation.models(),
        navigation.data(),
        navigation.machines(),
        navigation.alerts(),
        navigation.run(),
        navigation.changes(),
    ],
    position="top",
)
page.run()
