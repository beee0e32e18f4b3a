"""The cost of the live view: the same load with it and with --quiet, in turns; CPU time of the whole process.

    python benches/view.py target/release/flowbench [RATE] [SECONDS] [ROUNDS]

By default the load is minimal, so that most of the CPU time is that of the view.
"""

import os
import pty
import resource
import statistics
import sys
import tempfile

SUITE = """
flows: {local: {embedded: {executors: [{name: echo}]}}}
documents: {q: {text: hello}}
scenarios:
  - {name: load, documents: q, request_size: 1, load: {rate: %s/s, duration: %ss}, thresholds: [error_rate < 50%%]}
"""


def cpu(command):
    """CPU seconds of a command that runs in its own terminal."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    drawn = 0
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # the terminal closes with its last user
            break
        if not read:
            break
        drawn += len(read)
    os.waitpid(child, 0)
    os.close(terminal)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, drawn


binary = os.path.abspath(sys.argv[1])
rate, seconds, rounds = (sys.argv[2:] + ["1", "10", "6"][len(sys.argv) - 2 :])[:3]
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
    with open("suite.yaml", "w") as suite:
        suite.write(SUITE % (rate, seconds))
    shown, quiet = [], []
    for number in range(2 * int(rounds)):
        command = [binary, "run", "suite.yaml", "--out", f"out-{number}"]
        # A B B A
        if number % 4 in (0, 3):
            used, drawn = cpu(command)
            shown.append(used)
        else:
            quiet.append(cpu(command + ["--quiet"])[0])
with_view, without = statistics.median(shown), statistics.median(quiet)
print("with the view", *(f"{used:.2f}" for used in shown))
print("without      ", *(f"{used:.2f}" for used in quiet))
print(f"medians {with_view:.2f} s and {without:.2f} s of CPU, ratio {with_view / without:.3f}; {drawn} bytes drawn")
