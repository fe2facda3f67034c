#!/usr/bin/python3 -IS
"""A stand-in for a site's gate: it answers from files beside it, and misbehaves as `behaviour` says.

jobs.json       the rows that `queue` answers
behaviour       how it answers: well, silent, slow, endless, huge, garbage, drained, refuses, crash, noisy
requests        what it was asked, one line each
environment     what ssh gave it, of the last request
"""

import json
import os
import sys
import time

HERE = os.path.dirname(os.path.realpath(__file__))
PONG = {
    "gate_version": "stand-in",
    "dialect": "slurm",
    "scheduler_version": "22.05.8",
    "drained": False,
    "limits": {"minutes": 720},
}


def read(name, otherwise=""):
    try:
        with open(os.path.join(HERE, name)) as file:
            return file.read()
    except FileNotFoundError:
        return otherwise


def submit(request):
    jobs = json.loads(read("jobs.json", "[]"))
    for row in jobs:
        if row["attempt"] == request["attempt"]:
            return {"job": row["job"], "existed": True, "minutes": 60}
    job = str(len(jobs) + 1)
    row = {"job": job, "attempt": request["attempt"], "account": request["account"], "state": "pending"}
    jobs.append(dict(row, scheduler_state="PENDING", reason="Priority"))
    path = os.path.join(HERE, "jobs.json")
    with open(path + ".new", "w") as file:
        json.dump(jobs, file)
    os.replace(path + ".new", path)
    return {"job": job, "existed": False, "minutes": request["resources"]["minutes"]}


def answer(request):
    verb = request["verb"]
    if verb == "ping":
        return dict(PONG, time=time.time(), drained=read("behaviour").strip() == "drained")
    if verb == "submit":
        return submit(request)
    if verb == "queue":
        return {"time": time.time(), "jobs": json.loads(read("jobs.json", "[]"))}
    if verb == "cancel":
        return {"cancelled": any(row["job"] == request["job"] for row in json.loads(read("jobs.json", "[]")))}
    rows = [dict(row, source="accounting", estimated=False) for row in json.loads(read("jobs.json", "[]"))]
    return {"jobs": [row for row in rows if row["job"] in [job["job"] for job in request["jobs"]]]}


def main():
    behaviour = read("behaviour").strip()
    line = sys.stdin.readline()
    with open(os.path.join(HERE, "requests"), "a") as file:
        file.write(line)
    with open(os.path.join(HERE, "environment"), "w") as file:
        json.dump(dict(os.environ), file)
    if behaviour == "silent":
        time.sleep(3600)
    if behaviour == "slow":
        time.sleep(1.0)
    if behaviour == "crash":
        sys.exit("no scheduler here")
    if behaviour == "noisy":
        while True:
            sys.stderr.write("x" * 65536)
    if behaviour in ("endless", "huge"):
        for _ in range(1600 if behaviour == "huge" else 10**9):
            sys.stdout.write("x" * 65536)
    if behaviour == "garbage":
        print("Welcome to the cluster!")
        return
    request = json.loads(line)
    if behaviour == "refuses":
        print(json.dumps({"v": 1, "ok": False, "error": "not-mapped", "detail": "nobody knows this account"}))
        return
    print(json.dumps(dict(answer(request), v=1, ok=True)))


main()
