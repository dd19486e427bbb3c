#!/usr/bin/env python3
"""Turns OpenMetrics text into the older format that `promtool check metrics` reads: there HELP and TYPE of a counter
name it with its `_total`, and there is no UNIT and no EOF."""

import re
import sys

text = sys.stdin.read()
counters = set(re.findall(r"^# TYPE (\S+) counter$", text, re.M))
for line in text.splitlines():
    match = re.match(r"# (HELP|TYPE) (\S+) (.*)", line)
    if match and match[2] in counters:
        line = f"# {match[1]} {match[2]}_total {match[3]}"
    if not line.startswith(("# UNIT", "# EOF")):
        print(line)
