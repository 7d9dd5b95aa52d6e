#!/usr/bin/env python3
"""Who may do what: one JSON object on standard input. Exit 0: all that is asked for. 1: nothing of it. Else: I cannot tell."""

import json
import sys

question = json.load(sys.stdin)
groups = (question["Labels"] or {}).get("group", [])
ours = question["Type"] == "repository" and question["Name"].startswith("ci/")
may = "CICD" in groups and ours and set(question["Actions"]) <= {"pull", "push"}
sys.exit(0 if may else 1)
