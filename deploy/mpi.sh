#!/bin/bash
# Sends a suite in parts, which `mpirun` starts on its hosts. Part 1 has the result:
#   deploy/mpi.sh suite.yaml 4 results
# Part 1 is looked for on this host. Where `mpirun` starts rank 0 on another one, name it: FLOWBENCH_MEET=node7:4747
set -euo pipefail
suite=$1 parts=$2 results=$3
FLOWBENCH_MEET_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export FLOWBENCH_MEET_TOKEN
# `-x` is Open MPI's; MPICH hands the environment on without it.
mpirun -x FLOWBENCH_MEET_TOKEN -n "$parts" flowbench run "$suite" --part auto \
  --meet "${FLOWBENCH_MEET:-$(hostname):4747}" --quiet --out "$results"
