#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Checks .github/workflows/*.yml, in the folder given: that each is YAML of the shape that a workflow has, that every
expression names something that is there, that every preset that is run is one of CMakePresets.json, and that every preset
that .ci/run runs is run. Prints what is wrong; returns 77 where the parser of YAML (python3-yaml) is not installed."""

import glob
import json
import os
import re
import sys

try:
    import yaml
except ImportError:
    print("SKIPPED: no python3-yaml")
    sys.exit(77)

CONTEXTS = {"matrix", "github", "env", "runner", "needs", "steps", "job", "strategy", "secrets", "inputs"}


class Loader(yaml.SafeLoader):
    """`on` is a word here, as it is to the forge; and a key that comes twice is a mistake."""

    def construct_mapping(self, node, deep=False):
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if keys.count(key) > 1:
                raise yaml.YAMLError(f"line {node.start_mark.line + 1}: {key} stands there twice")
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(?:true|false)$"), list("tf"))

wrong = []


def strings(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield from strings(key)
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def check_job(where, job, presets, run):
    def fail(what):
        wrong.append(f"{where}: {what}")

    known = {"name", "runs-on", "timeout-minutes", "strategy", "container", "env", "steps", "needs", "if", "permissions"}
    for key in set(job) - known:
        fail(f"unknown key {key}")
    if "runs-on" not in job or not job.get("steps"):
        fail("no runs-on, or no steps")
        return
    matrix = job.get("strategy", {}).get("matrix", {})
    axes = {name: values for name, values in matrix.items() if name not in ("include", "exclude")}
    for entry in matrix.get("exclude", []):
        for name, value in entry.items():
            if value not in axes.get(name, []):
                fail(f"exclude: {name} is never {value}")
    for text in strings(job):
        if text.count("${{") != text.count("}}"):
            fail(f"an expression is not closed: {text}")
        for expression in re.findall(r"\$\{\{(.*?)\}\}", text):
            for context, name in re.findall(r"\b([a-z]+)\.([A-Za-z_-]+)", re.sub(r"'[^']*'", "", expression)):
                if context not in CONTEXTS:
                    fail(f"unknown context {context}")
                elif context == "matrix" and name not in axes:
                    fail(f"matrix.{name} is not there")
    for step in job["steps"]:
        if ("run" in step) == ("uses" in step):
            fail(f"a step has one of run and uses: {step}")
        for key in set(step) - {"name", "run", "uses", "with", "env", "if", "shell", "id"}:
            fail(f"a step has an unknown key {key}")
        if "uses" in step and not re.fullmatch(r"[\w.-]+/[\w./-]+@v\d[\w.]*", step["uses"]):
            fail(f"uses {step['uses']}: not owner/name@vN")
        for name in re.findall(r"--preset[ =](\$\{\{ *matrix\.(\w+) *\}\}|\S+)", step.get("run", "")):
            run.update(axes.get(name[1], []) if name[1] else [name[0]])
        for name in re.findall(r"--preset[ =](?!\$)(\S+)", step.get("run", "")):
            if name not in presets:
                fail(f"there is no workflow preset {name}")
    for name in axes.get("preset", []):
        if name not in presets:
            fail(f"there is no workflow preset {name}")


def main():
    os.chdir(sys.argv[1])
    with open("CMakePresets.json", encoding="utf-8") as file:
        presets = {preset["name"] for preset in json.load(file)["workflowPresets"]}
    files = sorted(glob.glob(".github/workflows/*.yml"))
    run = set()
    for path in files:
        with open(path, encoding="utf-8") as file:
            try:
                workflow = yaml.load(file, Loader)
            except yaml.YAMLError as error:
                wrong.append(f"{path}: {error}")
                continue
        for key in ("name", "on", "jobs"):
            if key not in workflow:
                wrong.append(f"{path}: no {key}")
        for name, job in workflow.get("jobs", {}).items():
            check_job(f"{path}: {name}", job, presets, run)
    if not files:
        wrong.append("no workflow is there")
    with open(".ci/run", encoding="utf-8") as file:
        wanted = set(re.findall(r"^(?:[^#\n]* )?workflow ([a-z]+)", file.read(), re.M))
    if len(wanted) < 10:
        wrong.append(f".ci/run: the presets that it runs were not found, but {wanted}")
    for name in sorted(wanted - presets):
        wrong.append(f".ci/run runs {name}, which is no workflow preset")
    for name in sorted(wanted):
        if name not in run:
            wrong.append(f"no workflow runs the preset {name}")
    print("\n".join(wrong) if wrong else f"{len(files)} workflow, presets run: {' '.join(sorted(run))}")
    return 1 if wrong else 0


sys.exit(main())
