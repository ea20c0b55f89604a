"""Says what a run folder holds: as a value, a page, Markdown, in a terminal. Never imports torch."""

from headwater.report.markdown import to_markdown
from headwater.report.page import write_page
from headwater.report.rows import Summary
from headwater.report.summary import summarise
from headwater.report.terminal import print_summary

__all__ = ["Summary", "print_summary", "summarise", "to_markdown", "write_page"]
