#!/usr/bin/env python3
"""Writes weighbridge/dashboards/weighbridge.json: classic Grafana JSON, which every Grafana since 11 imports.

    charts/dashboard.py            write it
    charts/dashboard.py --check    fail if the committed file is another

Generated, so that every panel has its unit, its description, the templated data source and the same selectors.
PromQL stays within what Prometheus 2.42 parses; the cluster demo runs each query against one.
"""

import json
import pathlib
import sys

TARGET = pathlib.Path(__file__).parent / "weighbridge/dashboards/weighbridge.json"
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
SELECTED = 'namespace=~"$namespace", model=~"$model", world=~"$world"'
# Rates need the window that Grafana derives from the scrape interval, or they come out empty at some zooms.
WINDOW = "[$__rate_interval]"
# What carries the trace of an observation, for who keeps exemplars and has told Grafana where traces are.
WITH_EXEMPLARS = ("weighbridge_time_to_first_token_seconds", "weighbridge_request_duration_seconds")
MODEL = "{{namespace}}/{{model}} ({{world}})"
BY_MODEL = "namespace, model, world"


def rate(metric, by=BY_MODEL, extra=""):
    return f"sum by ({by}) (rate({metric}{{{SELECTED}{extra}}}{WINDOW}))"


def quantile(share, metric):
    return f"histogram_quantile({share}, {rate(f'{metric}_bucket', 'le, ' + BY_MODEL)})"


def percentiles(metric):
    return [(quantile(share, metric), f"{MODEL} p{percent}") for share, percent in ((0.5, 50), (0.95, 95), (0.99, 99))]


# Title, description, unit, width of 24, queries with their legends; "table" for one that shows numbers.
PANELS = [
    (
        "Input tokens per second", "Tokens of the prompts that callers sent, as the server or the provider counted them.",
        "short", 12, [(rate("weighbridge_tokens_total", extra=', direction="input"'), MODEL)],
    ),
    (
        "Output tokens per second", "Tokens that models produced. Open and closed models count alike.",
        "short", 12, [(rate("weighbridge_tokens_total", extra=', direction="output"'), MODEL)],
    ),
    (
        "Time to first token", "From the request's arrival at the gateway to the first token that leaves it.",
        "s", 12, percentiles("weighbridge_time_to_first_token_seconds"),
    ),
    (
        "Inter-token latency", "Time between two tokens of one answer, as the caller sees it.",
        "s", 12, percentiles("weighbridge_inter_token_latency_seconds"),
    ),
    (
        "Requests per second by code", "HTTP status that the caller got; 499 is a caller that left.",
        "reqps", 8, [(rate("weighbridge_requests_total", BY_MODEL + ", code"), f"{MODEL} {{{{code}}}}")],
    ),
    (
        "Requests in flight", "Requests that the gateways are answering now.",
        "short", 8, [(f"sum by ({BY_MODEL}) (weighbridge_requests_in_flight{{{SELECTED}}})", MODEL)],
    ),
    (
        "Request duration", "From the request's arrival at the gateway to the last byte of its answer.",
        "s", 8, percentiles("weighbridge_request_duration_seconds"),
    ),
    (
        "Requests that wait", "For a model that has no ready endpoint, such as one that is being woken.",
        "short", 12, [(f"sum by ({BY_MODEL}) (weighbridge_held_requests{{{SELECTED}}})", MODEL)],
    ),
    (
        "What became of waiting, per second", "released: an endpoint came. full, no_room: no more may wait. left: the caller did.",
        "reqps", 12, [(rate("weighbridge_holds_total", BY_MODEL + ", end"), f"{MODEL} {{{{end}}}}")],
    ),
    (
        "Tokens since the gateways started", "The counters themselves: what a bill or a client's own count is compared with.",
        "table", 24, [(f"sum by ({BY_MODEL}, direction) (weighbridge_tokens_total{{{SELECTED}}})", MODEL)],
    ),
]


def panel(number, x, y, title, description, unit, width, queries):
    table = unit == "table"
    targets = [
        {
            "datasource": DATASOURCE, "editorMode": "code", "expr": expression, "legendFormat": legend,
            "refId": chr(ord("A") + index), "range": not table, "instant": table,
            **({"format": "table"} if table else {}),
            **({"exemplar": True} if any(metric in expression for metric in WITH_EXEMPLARS) else {}),
        }
        for index, (expression, legend) in enumerate(queries)
    ]
    drawing = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    shown = {
        "type": "timeseries",
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": drawing}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
    }
    if table:
        hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}, "renameByName": {"Value": "tokens"}}}
        shown = {
            "type": "table",
            "fieldConfig": {"defaults": {"unit": "none"}, "overrides": []},
            "options": {"showHeader": True, "sortBy": [{"displayName": "tokens", "desc": True}]},
            "transformations": [hidden],
        }
    return {
        "id": number, "title": title, "description": description, "datasource": DATASOURCE,
        "gridPos": {"h": 8, "w": width, "x": x, "y": y}, "targets": targets, **shown,
    }


def panels():
    x = y = 0
    for number, (title, description, unit, width, queries) in enumerate(PANELS, 1):
        if x + width > 24:
            x, y = 0, y + 8
        yield panel(number, x, y, title, description, unit, width, queries)
        x += width


def variable(name, label, within):
    query = f"label_values(weighbridge_requests_total{within}, {name})"
    return {
        "name": name, "label": label, "type": "query", "datasource": DATASOURCE, "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "includeAll": True, "multi": True, "allValue": ".*", "refresh": 2, "sort": 1,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


def dashboard():
    return {
        "uid": "weighbridge", "title": "Weighbridge", "tags": ["weighbridge"],
        "description": "Open weights and closed APIs side by side, as callers see them at the gateway.",
        "schemaVersion": 39, "version": 1, "editable": True, "graphTooltip": 1,
        "refresh": "10s", "time": {"from": "now-30m", "to": "now"}, "timezone": "browser",
        "annotations": {"list": []}, "links": [],
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "refresh": 1},
                variable("namespace", "Namespace", ""),
                variable("model", "Model", '{namespace=~"$namespace"}'),
                variable("world", "World", '{namespace=~"$namespace", model=~"$model"}'),
            ]
        },
        "panels": list(panels()),
    }


def main():
    text = json.dumps(dashboard(), indent=2) + "\n"
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
    elif TARGET.read_text() != text:
        sys.exit(f"{TARGET} is stale: run `make generate`")


if __name__ == "__main__":
    main()
