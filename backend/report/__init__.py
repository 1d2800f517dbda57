"""A report on an experiment: one document, written as HTML that needs nothing else and as Markdown.

| module | what |
| --- | --- |
| `gathered` | everything that is read, from the store and the run folders |
| `methods`, `curves` | which runs differ in their seed alone, and means over them |
| `sections` | from what was gathered to paragraphs, tables and figures, in the order of a reader's questions |
| `repeat` | the commands that do it again |
| `html`, `markdown` | the document as a file |
"""

from __future__ import annotations

import re

from sqlalchemy import Connection

from backend import words
from backend.report.document import Report
from backend.report.gathered import Tell, gather
from backend.report.html import to_html
from backend.report.markdown import to_markdown
from backend.report.sections import answer, closing, course, protocol, runs, settings

__all__ = ["ENDINGS", "Report", "file_name", "make", "to_html", "to_markdown", "written"]

ENDINGS = {"html": ".html", "markdown": ".md"}
"""By format, how its files end."""


def file_name(experiment: str, format: str) -> str:
    """What the file of a report is called."""
    slug = re.sub(r"[^A-Za-z0-9]+", "-", experiment).strip("-").lower() or "experiment"
    return f"report-{slug}{ENDINGS[format]}"


def written(report: Report, format: str) -> str:
    """The report as the text of a file."""
    return to_html(report) if format == "html" else to_markdown(report)


def make(
    connection: Connection,
    experiment: str,
    *,
    now: float,
    tell: Tell = lambda what: None,
    archived: bool = False,
) -> Report:
    """The report on an experiment as it is now.

    Args:
        tell: is told what is being read.
        archived: whether archived runs count.

    Raises:
        StoreError: there is no such experiment.
    """
    found = gather(connection, experiment, now, tell, archived=archived)
    tell("figures")
    sections = [
        answer.section(found),
        protocol.section(found),
        course.curves(found),
        course.coefficient(found),
        course.seconds(found),
        runs.audits(found),
        runs.alarms(found),
        runs.runs(found),
        settings.configurations(found),
        settings.versions(found),
        closing.limits(found),
        closing.repeat(found),
    ]
    lead = [f"Made {words.date(now)} from the experiment {experiment}.", *answer.lead(found)]
    return Report(f"Report: {experiment}", lead, [section for section in sections if section is not None])
