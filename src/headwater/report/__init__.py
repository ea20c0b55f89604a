"""Says what a run folder holds: as a value (`summarise`), as a page, in a terminal. Never imports torch."""

from headwater.report.page import write_page
from headwater.report.rows import Summary
from headwater.report.summary import summarise
from headwater.report.terminal import print_summary

__all__ = ["Summary", "print_summary", "summarise", "write_page"]
