"""Reports of what was explained and measured, read back from the folders it was written to."""

from bitlens.reports.written import Written, write_report

__all__ = ["Written", "write_report"]
