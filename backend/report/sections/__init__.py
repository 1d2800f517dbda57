"""The sections of a report, each a function from what was gathered to paragraphs, tables and figures."""
