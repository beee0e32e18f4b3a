#!/bin/bash
# Sends a suite in parts, which `mpirun` starts on its hosts, and merges them:
#   deploy/mpi.sh suite.yaml 4 results
# The folder of results is on a disk that all hosts share.
set -euo pipefail
suite=$1 parts=$2 results=$3
at=$(date -u -d "+${FLOWBENCH_BEFORE:-15} seconds" +%Y-%m-%dT%H:%M:%SZ)
mpirun -n "$parts" flowbench run "$suite" --part auto --at "$at" --quiet --out "$results"
flowbench merge "$results" --out "$results"
