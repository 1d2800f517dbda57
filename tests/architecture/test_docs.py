"""What the documents point at exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")


def anchors(document: Path) -> set[str]:
    """Of every heading, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", document.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_link_leads_somewhere(document):
    for path, anchor in LINK.findall(document.read_text()):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        if anchor and target.suffix == ".md":
            assert anchor in anchors(target), f"{path}#{anchor}"


def test_every_function_and_test_that_the_method_names_with_a_file_is_in_that_file():
    text = (ROOT / "docs" / "method.md").read_text()
    named = [
        (name, ROOT / "docs" / path)
        for label, path in re.findall(r"\[([^\]]*`[^\]]*)\]\((\.\./[^)#]+\.py)\)", text)
        for name in re.findall(r"`(\w+)`", label)
    ]
    assert len(named) > 20
    wrong = [f"{name} in {path.name}" for name, path in named if not re.search(rf"\b{name}\b", path.read_text())]
    assert wrong == []
