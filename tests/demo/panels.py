#!/usr/bin/env python3
"""Runs a Grafana dashboard's queries against a real Prometheus and holds them against the clients' own counts.

    panels.py totals --prometheus URL --dashboard FILE --counts FILE    write what the counters say now
    panels.py wait   --prometheus URL --dashboard FILE --counts FILE    until the counters say what clients counted
    panels.py show   --prometheus URL --dashboard FILE --counts FILE --since TIME

`show` prints every panel's values and every variable's, and fails where a query returns nothing, an error or no
number. Counters are exact: the panel of totals, the answers without a usage, and the counters under the panels of
token rates must equal the counts to the token. A rate is an estimate that depends on when was scraped: over the time
SINCE, which spans all that was said, each panel must show some for each model, and no more is asked of it.
"""

import argparse
import collections
import json
import math
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

import counts as files

TOTALS = "Tokens since the gateways started"
# No panel's: it says how many prompts the panel of totals lacks.
MISSING = "sum by (namespace, model) (weighbridge_usage_missing_total)"
RATES = {"Input tokens per second": "input", "Output tokens per second": "output"}
# Zero is what it shows when nobody asks.
AT_REST = "Requests in flight"
# A scrape that failed on a busy machine leaves a hole until the next one.
PATIENCE = 20


class Prometheus:
    def __init__(self, url):
        self.url = url

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters, doseq=True)
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{query}", timeout=20) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise SystemExit(f"Prometheus refuses {parameters}: {error.read().decode()}") from error

    def query(self, expression):
        return [(series["metric"], float(series["value"][1])) for series in self.get("query", query=expression)["result"]]


def fill(text, dashboard, window):
    """What Grafana does before it asks: the variables, all chosen, and its own window."""
    text = text.replace("$__rate_interval", f"{window}s")
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            text = text.replace(f"${variable['name']}", variable["allValue"])
    if "$" in text:
        raise SystemExit(f"a variable is left in {text}")
    return text


def variable_values(prometheus, variable, dashboard):
    match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
    selector = fill(match[1], dashboard, 0)
    return [value for value in prometheus.get(f"label/{match[2]}/values", **{"match[]": selector}) if value]


def panel(dashboard, title):
    return next(panel for panel in dashboard["panels"] if panel["title"] == title)


def called(labels):
    """A model, as its callers call it."""
    return f"{labels['namespace']}/{labels['model']}"


def by_model(series):
    """Tokens by model and direction."""
    counts = collections.defaultdict(dict)
    for labels, value in series:
        if value:
            counts[called(labels)][labels["direction"]] = value
    return dict(counts)


def totals(prometheus, dashboard):
    expression = panel(dashboard, TOTALS)["targets"][0]["expr"]
    seen = by_model(prometheus.query(fill(expression, dashboard, 0)))
    for labels, value in prometheus.query(MISSING):
        seen.setdefault(called(labels), {})["usage_missing"] = value
    return seen


def wait(prometheus, dashboard, counts):
    deadline = time.monotonic() + PATIENCE
    while (seen := totals(prometheus, dashboard)) != counts:
        if time.monotonic() > deadline:
            raise SystemExit(f"panel {TOTALS!r} shows {seen}, the clients counted {counts}")
        time.sleep(0.2)


def show(prometheus, dashboard, counts, since):
    """Looks until all is well or patience ends, and prints what it saw last."""
    deadline = time.monotonic() + PATIENCE
    while True:
        lines, problems = look(prometheus, dashboard, counts, math.ceil(time.time() - since))
        if not problems or time.monotonic() > deadline:
            print("\n".join(lines))
            return problems
        time.sleep(1)


def look(prometheus, dashboard, counts, window):
    lines, problems, queries = [], [], 0
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            values = variable_values(prometheus, variable, dashboard)
            lines.append(f"variable {variable['name']}: {', '.join(values)}")
            if not values:
                problems.append(f"variable {variable['name']} has no values")
    for shown in dashboard["panels"]:
        title, unit = shown["title"], shown["fieldConfig"]["defaults"]["unit"]
        lines.append(f"\n{title} [{unit}]")
        for target in shown["targets"]:
            queries += 1
            series = prometheus.query(fill(target["expr"], dashboard, window))
            for labels, value in series:
                name = re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])
                name += f" {labels['direction']}" if "direction" in labels else ""
                lines.append(f"  {name:<40} {value:.6g}")
                if not math.isfinite(value):
                    problems.append(f"panel {title!r}, query {target['refId']}, {name}: {value}")
            moved = {called(labels) for labels, value in series if value > 0 or title == AT_REST}
            if missing := counts.keys() - moved:
                problems.append(f"panel {title!r}, query {target['refId']}: nothing for {', '.join(sorted(missing))}")
        if direction := RATES.get(title):
            for model, tokens in under_the_rate(prometheus, dashboard, shown):
                said = counts.get(model, {}).get(direction, 0)
                lines.append(f"  {model}: {tokens:.0f} tokens so far; the clients counted {said:.0f}")
                if tokens != said:
                    problems.append(f"panel {title!r}: its counter for {model} is {tokens}, the clients counted {said}")
    if (seen := totals(prometheus, dashboard)) != counts:
        problems.append(f"panel {TOTALS!r} shows {seen}, the clients counted {counts}")
    lines.append(f"\n{queries} queries of the dashboard ran; the clients counted {json.dumps(counts)}")
    return lines, problems


def under_the_rate(prometheus, dashboard, shown):
    """The counters that a panel's query takes the rate of, by model."""
    expression, replaced = re.subn(r"rate\((.*)\[\$__rate_interval\]\)", r"\1", shown["targets"][0]["expr"])
    if replaced != 1:
        raise SystemExit(f"panel {shown['title']!r} is not one rate")
    for labels, value in prometheus.query(fill(expression, dashboard, 0)):
        yield called(labels), value


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["totals", "wait", "show"])
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--dashboard", required=True, type=argparse.FileType())
    parser.add_argument("--counts", required=True, help="file of the clients' counts")
    parser.add_argument("--since", type=float, help="when the first rate began, in seconds of the epoch")
    args = parser.parse_args()
    prometheus, dashboard = Prometheus(args.prometheus), json.load(args.dashboard)
    if args.verb == "totals":
        return files.save(args.counts, totals(prometheus, dashboard))
    if args.verb == "wait":
        return wait(prometheus, dashboard, files.load(args.counts))
    return "\n".join(show(prometheus, dashboard, files.load(args.counts), args.since)) or None


if __name__ == "__main__":
    sys.exit(main())
