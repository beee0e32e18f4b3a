"""Sends a suite in parts, as tasks of Ray, and merges them: python ray_load.py suite.yaml 4"""

import datetime
import pathlib
import subprocess
import sys

import ray


@ray.remote(num_cpus=2, scheduling_strategy="SPREAD")
def send(suite: str, part: str, at: str) -> str:
    pathlib.Path("suite.yaml").write_text(suite)
    command = ["flowbench", "run", "suite.yaml", "--part", part, "--at", at, "--json", "--quiet"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout


suite, parts = pathlib.Path(sys.argv[1]).read_text(), int(sys.argv[2])
soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=30)
sent = [send.remote(suite, f"{n}/{parts}", soon.isoformat()) for n in range(1, parts + 1)]
journals = []
for number, journal in enumerate(ray.get(sent), start=1):
    journals.append(f"part-{number}.jsonl")
    pathlib.Path(journals[-1]).write_text(journal)
sys.exit(subprocess.run(["flowbench", "merge", *journals]).returncode)
