#!/usr/bin/env python3
"""Runs a Grafana dashboard's queries against a real Prometheus and holds them against the clients' own counts.

    panels.py totals --prometheus URL --dashboard FILE --counts FILE    write what the counters say now
    panels.py wait   --prometheus URL --dashboard FILE --counts FILE    until the counters say what clients counted
    panels.py show   --prometheus URL --dashboard FILE --counts FILE --before FILE --window SECONDS

`show` prints every panel's values and every variable's, and fails where a query returns nothing, an error or no
number. The panel of totals must equal the counts to the token, and so must the number of answers without a usage. The panels of rates are asked over WINDOW, which
spans all that was said; a rate is extrapolated to its window's edges, so the product may be 5 % off.
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


def by_model(series):
    """Tokens by model and direction. A model is what its callers call it."""
    counts = collections.defaultdict(dict)
    for labels, value in series:
        if value:
            counts[f"{labels['namespace']}/{labels['model']}"][labels["direction"]] = value
    return dict(counts)


def totals(prometheus, dashboard):
    expression = panel(dashboard, TOTALS)["targets"][0]["expr"]
    seen = by_model(prometheus.query(fill(expression, dashboard, 0)))
    for labels, value in prometheus.query(MISSING):
        seen.setdefault(f"{labels['namespace']}/{labels['model']}", {})["usage_missing"] = value
    return seen


def wait(prometheus, dashboard, counts):
    deadline = time.monotonic() + 20
    while (seen := totals(prometheus, dashboard)) != counts:
        if time.monotonic() > deadline:
            raise SystemExit(f"panel {TOTALS!r} shows {seen}, the clients counted {counts}")
        time.sleep(0.2)


def show(prometheus, dashboard, counts, window):
    problems, queries = [], 0
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            values = variable_values(prometheus, variable, dashboard)
            print(f"variable {variable['name']}: {', '.join(values)}")
            if not values:
                problems.append(f"variable {variable['name']} has no values")
    for shown in dashboard["panels"]:
        print(f"\n{shown['title']} [{shown['fieldConfig']['defaults']['unit']}]")
        for target in shown["targets"]:
            queries += 1
            series = prometheus.query(fill(target["expr"], dashboard, window))
            if not series:
                problems.append(f"panel {shown['title']!r}, query {target['refId']}: no data")
            for labels, value in series:
                name = re.sub(r"{{(\w+)}}", lambda match: labels.get(match[1], ""), target["legendFormat"])
                name += f" {labels['direction']}" if "direction" in labels else ""
                note = ""
                if direction := RATES.get(shown["title"]):
                    said, note = counted(counts, labels, direction), f" × {window} s = {value * window:.1f} tokens"
                    note += f"; the clients counted {said}"
                    if not math.isclose(value * window, said, rel_tol=0.05):
                        problems.append(f"panel {shown['title']!r}, {name}:{note}")
                print(f"  {name:<40} {value:.6g}{note}")
                if not math.isfinite(value):
                    problems.append(f"panel {shown['title']!r}, query {target['refId']}, {name}: {value}")
    if (seen := totals(prometheus, dashboard)) != counts["after"]:
        problems.append(f"panel {TOTALS!r} shows {seen}, the clients counted {counts['after']}")
    print(f"\n{queries} queries of the dashboard ran; the clients counted {json.dumps(counts['after'])}")
    return problems


def counted(counts, labels, direction):
    """What the clients counted within the window."""
    model = f"{labels['namespace']}/{labels['model']}"
    return counts["after"].get(model, {}).get(direction, 0) - counts["before"].get(model, {}).get(direction, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("verb", choices=["totals", "wait", "show"])
    parser.add_argument("--prometheus", required=True)
    parser.add_argument("--dashboard", required=True, type=argparse.FileType())
    parser.add_argument("--counts", required=True, help="file of the clients' counts")
    parser.add_argument("--before", help="the same file as it was when the window began")
    parser.add_argument("--window", type=int, help="seconds")
    args = parser.parse_args()
    prometheus, dashboard = Prometheus(args.prometheus), json.load(args.dashboard)
    if args.verb == "totals":
        return files.save(args.counts, totals(prometheus, dashboard))
    if args.verb == "wait":
        return wait(prometheus, dashboard, files.load(args.counts))
    counts = {"before": files.load(args.before), "after": files.load(args.counts)}
    return "\n".join(show(prometheus, dashboard, counts, args.window)) or None


if __name__ == "__main__":
    sys.exit(main())
