#!/usr/bin/env bash
#SBATCH --job-name=al_jax
#SBATCH --array=0-9
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=4
#SBATCH --mem=16G
#SBATCH --time=02:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
# Runs an ablation as an array job: each task runs a group of seeds in a separate workdir, and resumes if it is requeued.
# Start it from the project's root, with flags as for experiments.ablation:
#
#   STUDY=runs/mnist SEEDS_PER_TASK=5 sbatch experiments/slurm.sh --acq=random,entropy,margin --rounds=20
#   .venv/bin/python -m experiments.report runs/mnist/task* --out=runs/mnist
set -euo pipefail
cd "${SLURM_SUBMIT_DIR:?submit this script with sbatch experiments/slurm.sh}"
: "${STUDY:?set STUDY to the folder of the study: STUDY=runs/mnist sbatch ...}"
seeds=${SEEDS_PER_TASK:-5}
exec srun "${PYTHON:-.venv/bin/python}" -m experiments.ablation "$@" \
  --seed=$((SLURM_ARRAY_TASK_ID * seeds)) --seeds="$seeds" \
  --workdir="$STUDY/$(printf 'task%03d' "$SLURM_ARRAY_TASK_ID")" --resume
