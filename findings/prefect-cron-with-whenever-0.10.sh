#!/bin/sh
# Prefect 3.9.1 declares whenever>=0.10.5,<0.12. With whenever 0.10.5 on Python 3.11 or 3.12, each cron schedule that has a time zone raises
# when its next dates are computed, so that its runs are never scheduled; the server starts, answers, and looks healthy.
#
# Why one guesses otherwise: the lower bound of a declared range is taken for a version that works; a fresh install takes 0.11.0, with which
# all is well, so only an older lock file, or a resolver that prefers what is installed, ever meets it. An interval schedule is not affected.
#
# Cause: below Python 3.13 Prefect's dates carry pendulum's subclass of ZoneInfo; whenever 0.10 takes ZoneInfo itself and no subclass.
#
# Seen on 2026-11-30 with Python 3.11.7:
#   whenever 0.10.5: ValueError: tzinfo must be of type ZoneInfo (exactly), got Timezone('Europe/Zurich')
#   whenever 0.11.0: 3 dates
set -eu
python3 -c 'import sys; sys.exit(0 if (3, 11) <= sys.version_info < (3, 13) else "Needs Python 3.11 or 3.12.")'
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
cat > "$folder/ask.py" <<'PY'
import asyncio
from importlib.metadata import version

from prefect.server.schemas.schedules import CronSchedule

shown = f"whenever {version('whenever')}"
try:
    dates = asyncio.run(CronSchedule(cron="0 2 * * *", timezone="Europe/Zurich").get_dates(3))
    print(f"{shown}: {len(dates)} dates")
except ValueError as exc:
    print(f"{shown}: ValueError: {exc}")
PY
said=""
for whenever in 0.10.5 0.11.0; do
  "$folder/venv/bin/pip" install --quiet --disable-pip-version-check "prefect==3.9.1" "whenever==$whenever" 2>/dev/null
  line=$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null)
  echo "$line"
  said="$said$line;"
done
case "$said" in
  "whenever 0.10.5: ValueError: tzinfo must be of type ZoneInfo"*"whenever 0.11.0: 3 dates;") echo "As found." ;;
  *) echo "It is otherwise now." >&2; exit 1 ;;
esac
