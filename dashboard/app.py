"""Navigation only. Start with `python -m streamlit run dashboard/app.py` from the repository's root, or with `mtprl up`."""

from pathlib import Path

import streamlit as st

from dashboard import markup, navigation

ASSETS = Path(__file__).parent / "assets"

st.set_page_config(page_title="MTP-RL", page_icon=ASSETS / "icon.svg", layout="wide")
st.logo(ASSETS / "logo.svg", size="large")
st.html(markup.STYLE)
page = st.navigation(
    [navigation.runs(), navigation.new_run(), navigation.compare(), navigation.leaderboard(), navigation.run()],
    position="top",
)
page.run()
