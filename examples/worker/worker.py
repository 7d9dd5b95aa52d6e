#!/usr/bin/env python3
"""Answers the questions of Customhouse: a JSON object a line on standard input, its answer a line on standard output."""

import hmac
import json
import os
import sys

SECRET = os.environ.get("CICD_SECRET", "")


def login(question):
    if question["account"] != "cicd":
        return {"result": "no_match"}
    if SECRET and hmac.compare_digest(question["password"].encode(), SECRET.encode()):
        return {"result": "allow", "labels": {"group": ["CICD"]}}
    return {"result": "deny", "reason": "wrong password"}


def access(question):
    groups = question.get("labels", {}).get("group", [])
    resource = question["resource"]
    if "CICD" in groups and resource["type"] == "repository" and resource["name"].startswith("ci/"):
        return {"result": "allow", "actions": ["pull", "push"], "reason": "the group CICD builds here"}
    return {"result": "no_match"}


for line in sys.stdin:
    question = json.loads(line)
    try:
        answer = login(question) if question["type"] == "authenticate" else access(question)
    except Exception as error:  # it is this question's, the next one may be answered
        answer = {"result": "error", "reason": type(error).__name__}
    print(json.dumps({"id": question["id"], **answer}), flush=True)
