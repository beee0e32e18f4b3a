#!/bin/bash
#SBATCH --job-name=flowbench-search
#SBATCH --ntasks=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --output=flowbench-search-%j.log
set -euo pipefail
# Part 1 is on the first node. It waits for the others, has all begin together, and writes the report.
FLOWBENCH_MEET_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
export FLOWBENCH_MEET_TOKEN
srun --cpus-per-task=2 --kill-on-bad-exit=0 flowbench run suite.yaml --part auto --meet auto --quiet --out "flowbench-search-$SLURM_JOB_ID"
