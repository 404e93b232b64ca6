"""`make attack`: attacks every promise about what strangers may write. Exit code 1 if one does not hold. How to add a case: README.md.

python -m tests.attack [--only TEXT ...] [--list] [--readme]
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.attack.case import AREAS, Case, all_cases
from tests.attack.shared import Shared
from tests.attack.table import ROOT, write_readme

REPORT = ROOT / "build" / "attack.json"

#: No attack takes longer where its promise holds, in seconds: those of a whole release are a handful of releases.
LIMIT_SECONDS = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all cases; 0 if all promises hold."""
    parser = argparse.ArgumentParser(prog="make attack", description="Attack every promise about what strangers may write.")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only cases whose name contains this; may be given more than once")
    parser.add_argument("--list", action="store_true", help="only list the cases")
    parser.add_argument("--readme", action="store_true", help="write the README's table; needs all cases")
    given = parser.parse_args(arguments)
    if given.readme and given.only:
        parser.error("--readme needs all cases")
    cases = [case for case in all_cases() if any(text in case.name for text in given.only or [""])]
    if given.list:
        print("\n".join(f"{case.name}: {case.promise}" for case in cases))
        return 0
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="slipway-attack-", ignore_cleanup_errors=True) as name:
        shared = Shared(Path(name))
        with shared.open:
            found = {case: _tried(case, shared) for case in cases}
    return _report(found, time.monotonic() - begin, readme=given.readme)


def _tried(case: Case, shared: Shared) -> str:
    """Why the promise does not hold; empty if it does."""
    try:
        with _limited():
            case.attack(*([shared] if case.shares else []))
        why = ""
    except AssertionError as exc:
        why = str(exc) or "an assertion that says nothing"
    except Exception as exc:  # noqa: BLE001  # whatever it is: an attack that ends otherwise than it should has got through
        why = f"{type(exc).__name__}: {exc}"
    print(f"{'does not hold' if why else 'holds':<14} {case.name}: {case.promise}", flush=True)
    return why[:1000]


@contextmanager
def _limited() -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"it took longer than {LIMIT_SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _report(found: dict[Case, str], seconds: float, *, readme: bool) -> int:
    REPORT.parent.mkdir(exist_ok=True)
    table = [{"case": case.name, "area": case.area, "promise": case.promise, "held": not why, "why": why} for case, why in found.items()]
    REPORT.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    cases, held = Counter(case.area for case in found), Counter(case.area for case, why in found.items() if not why)
    print()
    for area in AREAS:
        print(f"{area:<14} {held[area]:>4} of {cases[area]:>3} hold")
    for case, why in found.items():
        if why:
            print(f"\n{case.name} does not hold: {case.promise}\n  {why!r}")
    print(f"\n{len(found)} cases in {seconds:.0f} s: {held.total()} hold, {len(found) - held.total()} do not. {REPORT.relative_to(ROOT)}")
    if readme:
        write_readme({area: (cases[area], held[area]) for area in AREAS})
    return 0 if held.total() == len(found) else 1


if __name__ == "__main__":
    sys.exit(main())
