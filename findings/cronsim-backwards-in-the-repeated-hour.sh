#!/bin/sh
# In the night when clocks are set back, cronsim 2.8 going backwards (reverse=True) from the second of the two hours with the same name
# passes over a time of the first one that it finds going forwards: asked at 02:10 (the second) for the last "30 2 * * *", it answers
# yesterday's, although that time came forty minutes ago.
#
# Why one guesses otherwise: reverse=True is documented as the same iteration in the other direction, and cronsim is the library that others
# are compared with for just these nights. Whoever asks "when did this window last begin?" goes backwards.
#
# Seen on 2026-11-30 with Python 3.11.7, cronsim 2.8:
#   forwards:  2027-10-31 02:30 +0200
#   backwards: 2027-10-30 02:30 +0200
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "cronsim==2.8" 2>/dev/null
cat > "$folder/ask.py" <<'PY'
from datetime import datetime, timezone
from zoneinfo import ZoneInfo

from cronsim import CronSim

zone = ZoneInfo("Europe/Zurich")
now = datetime(2027, 10, 31, 1, 10, tzinfo=timezone.utc)  # 02:10 for the second time
last = None
for date in CronSim("30 2 * * *", datetime(2027, 10, 29, tzinfo=zone)):
    if date.astimezone(timezone.utc) > now:
        break
    last = date
print(f"forwards:  {last:%Y-%m-%d %H:%M %z}")
print(f"backwards: {next(CronSim('30 2 * * *', now.astimezone(zone), reverse=True)):%Y-%m-%d %H:%M %z}")
PY
said=$("$folder/venv/bin/python" "$folder/ask.py")
echo "$said"
[ "$said" = "forwards:  2027-10-31 02:30 +0200
backwards: 2027-10-30 02:30 +0200" ] || { echo "It is otherwise now." >&2; exit 1; }
echo "As found."
