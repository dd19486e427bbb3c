#!/usr/bin/env python3
"""Checks of the chart that need no cluster. Called by `charts/generate.sh --check`, with Helm in $HELM."""

import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).parent.parent
CHART = ROOT / "charts/weighbridge"


def versions_agree():
    workspace = re.search(r'^\[workspace\.package\]\nversion = "(.+)"$', (ROOT / "Cargo.toml").read_text(), re.M)[1]
    chart = (CHART / "Chart.yaml").read_text()
    for key in ("version", "appVersion"):
        found = re.search(rf"^{key}: (.+)$", chart, re.M)[1]
        if found != workspace:
            yield f"Chart.yaml has {key} {found}, Cargo.toml has {workspace}"


def leaves(schema, path=()):
    """Paths of the values that the schema knows. An object that is passed on whole is one value."""
    for name, below in schema.get("properties", {}).items():
        if "properties" in below:
            yield from leaves(below, (*path, name))
        else:
            yield (*path, name)


def every_value_is_used():
    templates = "".join(file.read_text() for file in (CHART / "templates").iterdir())
    defaults = (CHART / "values.yaml").read_text()
    for path in leaves(json.loads((CHART / "values.schema.json").read_text())):
        if path == ("global",):
            continue
        # `placement` gets a component's values whole and reads three of them.
        whole = f'"weighbridge.placement" .Values.{path[0]} ' in templates and f"with .{path[-1]} " in templates
        if not whole and not re.search(rf"\.Values\.{re.escape('.'.join(path))}\b", templates):
            yield f"values.schema.json allows {'.'.join(path)}, which no template reads"
        if not re.search(rf"^ *{path[-1]}:", defaults, re.M):
            yield f"values.yaml does not show {'.'.join(path)}"


def roles_name_what_they_mean():
    for file in sorted((CHART / "golden").glob("*.yaml")):
        for document in file.read_text().split("\n---\n"):
            if re.search(r"^kind: (Cluster)?Role$", document, re.M):
                rules = document[document.index("\nrules:") :]
                if "*" in rules:
                    yield f"{file.name} has a role with a wildcard:\n{document}"
                if re.search(r"secrets[^-]*verbs:.*(list|watch|update|delete)", rules):
                    yield f"{file.name} has a role that does more with Secrets than get, and write, one by name"
                writes = re.search(r"secrets[^-]*verbs:.*(create|patch)", rules)
                if writes and not re.search(r"^kind: ValidatingAdmissionPolicyBinding$", file.read_text(), re.M):
                    yield f"{file.name} lets Secrets be written and has no policy that says which"


def gateways_know_their_memory():
    """Bounds follow from it within the gateway, which tests that they fit."""
    for file in sorted((CHART / "golden").glob("*.yaml")):
        documents = [text for text in file.read_text().split("\n---\n") if "name: gateway\n" in text]
        if not documents:
            yield f"{file.name} has no gateway"
        for document in documents:
            told = re.search(r"name: WEIGHBRIDGE_MEMORY_LIMIT\s+valueFrom: .*resource: limits.memory", document)
            if not told or not re.search(r"limits:\s+memory: \S", document):
                yield f"{file.name} has a gateway that is not told its memory limit, or has none"


def panels_ask_for_metrics_that_the_gateway_has():
    """Without a cluster only the names can be held; the cluster demo runs the queries."""
    source = (ROOT / "gateway/src/metrics.rs").read_text()
    dashboard = (CHART / "dashboards/weighbridge.json").read_text()
    for metric in sorted(set(re.findall(r"\bweighbridge_\w+", dashboard))):
        # The client library adds the unit and the kind to a name.
        name = re.sub(r"(_seconds)?(_total|_bucket|_sum|_count)?$", "", metric)
        if f'"{name}"' not in source:
            yield f"the dashboard asks for {metric}, which the gateway doesn't register"


def unknown_and_wrong_values_are_refused():
    for value, word in (
        ("gateway.replica=3", "replica"),
        ("operator.image=x", "image"),
        ("gateway.service.port=0", "port"),
        ("images.pullPolicy=Sometimes", "pullPolicy"),
        ("images.pullSecrets[0].name=Not_A_Name", "pullSecrets"),
        ("gateway.drainTimeoutSeconds=5m", "drainTimeoutSeconds"),
        ("monitoring.podMonitor.interval=soon", "interval"),
        ("gateway.limits.maxBodyBytes=0", "maxBodyBytes"),
        ("gateway.limits.maxBodyBytes=64Mi", "maxBodyBytes"),
        ("gateway.limits.maxBodyBytes=67108864", "gateway.resources.limits.memory"),
        ("gateway.limits.maxConnections=-1", "maxConnections"),
        ("gateway.timeouts.totalSeconds=0", "totalSeconds"),
    ):
        command = [os.environ["HELM"], "template", "w", str(CHART), "--kube-version", "1.34", "--set", value]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode == 0 or word not in result.stderr:
            yield f"--set {value} was not refused by name: {result.stderr.strip()[:300]}"


def an_upgrade_rolls_no_engine():
    """What the operator makes pods by is the same while the tag of engines is."""

    def operator(*values):
        sets = [word for value in values for word in ("--set", value)]
        command = [os.environ["HELM"], "template", "w", str(CHART), "--kube-version", "1.34", *sets]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        documents = [document for document in text.split("\n---\n") if "- name: operator\n" in document]
        image = re.search(r"image: (\S+)", documents[0])[1]
        return image, re.findall(r"^ +- (--.+)$", documents[0], re.M)

    before, flags = operator("images.tag=1.0.0")
    after, kept = operator("images.tag=2.0.0", "images.engineTag=1.0.0")
    if before == after or flags != kept:
        yield f"images.engineTag does not keep engines as they are: {before} {flags}, then {after} {kept}"
    if operator("images.tag=2.0.0", "images.engineTag=2.0.0") != operator("images.tag=2.0.0"):
        yield "images.engineTag is not images.tag where it is empty"


def main():
    checks = (
        versions_agree,
        every_value_is_used,
        roles_name_what_they_mean,
        gateways_know_their_memory,
        panels_ask_for_metrics_that_the_gateway_has,
        unknown_and_wrong_values_are_refused,
        an_upgrade_rolls_no_engine,
    )
    problems = [problem for check in checks for problem in check()]
    for problem in problems:
        print(f"charts: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
