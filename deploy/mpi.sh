#!/bin/bash
# Sends a suite in parts that `mpirun` starts on its hosts. Part 1 has the result:
#   deploy/mpi.sh suite.yaml 4 results
# Part 1 is expected on this host. If `mpirun` starts rank 0 on another one, name it: FLOWBENCH_MEET=node7:4747
set -euo pipefail
suite=$1 parts=$2 results=$3
FLOWBENCH_MEET_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export FLOWBENCH_MEET_TOKEN
# `-x` is for Open MPI; MPICH passes the environment on without it.
mpirun -x FLOWBENCH_MEET_TOKEN -n "$parts" flowbench run "$suite" --part auto \
  --meet "${FLOWBENCH_MEET:-$(hostname):4747}" --quiet --out "$results"
