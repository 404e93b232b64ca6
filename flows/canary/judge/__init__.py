"""Judges a canary against what serves, as often as somebody looks, and errs in at most the stated share of cases. No I/O here.

`Judge.add` takes what both did since the last look, `Judge.verdict` says what is known by now.
"""

from flows.canary.judge.judge import Judge
from flows.canary.judge.verdict import Finding, Verdict
from flows.canary.judge.window import Counts, Window

__all__ = ["Counts", "Finding", "Judge", "Verdict", "Window"]
