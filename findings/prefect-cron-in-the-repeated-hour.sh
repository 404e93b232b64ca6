#!/bin/sh
# A cron schedule of Prefect 3.9.1 with a time zone, every ten minutes, does not run for an hour in the night when clocks are set back: it
# runs through the first of the two hours with the same name, and not through the second.
#
# Why one guesses otherwise: cron itself runs a job with a wildcard by the time that passes, and only jobs at a fixed hour once
# (cron(8) of Debian; cronsim does so, too). "Every ten minutes" does not sound as if the clock on the wall mattered. A schedule without a
# time zone goes by UTC and is not affected; nor is an interval schedule.
#
# Seen on 2026-11-30 with Python 3.11.7, prefect 3.9.1, whenever 0.11.0, cronsim 2.8:
#   Prefect: 0:50 UTC is followed by 2:00 UTC, 70 minutes later
#   cronsim: 0:50 UTC is followed by 1:00 UTC, 10 minutes later
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "prefect==3.9.1" "whenever==0.11.0" "cronsim==2.8" 2>/dev/null
cat > "$folder/ask.py" <<'PY'
import asyncio
from datetime import datetime, timedelta, timezone
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim
from prefect.server.schemas.schedules import CronSchedule

ZONE = "Europe/Zurich"
begin, end = datetime(2027, 10, 31, 0, 0, tzinfo=ZoneInfo("UTC")), datetime(2027, 10, 31, 3, 0, tzinfo=ZoneInfo("UTC"))


def gap(who, dates):
    dates = [datetime.fromtimestamp(date.timestamp(), timezone.utc) for date in dates]
    one, other = max(zip(dates, dates[1:]), key=lambda pair: (pair[1] - pair[0], pair[0].hour == 0 and pair[0].minute == 50))
    minutes = (other - one) // timedelta(minutes=1)
    print(f"{who}: {one:%-H:%M} UTC is followed by {other:%-H:%M} UTC, {minutes} minutes later")


gap("Prefect", asyncio.run(CronSchedule(cron="*/10 * * * *", timezone=ZONE).get_dates(100, start=begin, end=end)))
local = begin.astimezone(ZoneInfo(ZONE))
gap("cronsim", takewhile(lambda date: date.astimezone(timezone.utc) <= end, CronSim("*/10 * * * *", local)))
PY
said=$("$folder/venv/bin/python" "$folder/ask.py" 2>/dev/null)
echo "$said"
[ "$said" = "Prefect: 0:50 UTC is followed by 2:00 UTC, 70 minutes later
cronsim: 0:50 UTC is followed by 1:00 UTC, 10 minutes later" ] || { echo "It is otherwise now." >&2; exit 1; }
echo "As found."
