#!/bin/bash
#SBATCH --job-name=flowbench-search
#SBATCH --ntasks=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --output=flowbench-search-%j.log
set -euo pipefail
results=flowbench-search-$SLURM_JOB_ID
# All tasks begin at the same time. One that fails does not end the others: `merge` tells of it.
at="2026-12-01T12:00:00Z"
srun --cpus-per-task=2 --kill-on-bad-exit=0 flowbench run suite.yaml --part auto --at "$at" --quiet --out "$results" || true
flowbench merge "$results" --out "$results"
