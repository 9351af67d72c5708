#!/bin/bash
#SBATCH --job-name=spresso
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4
#SBATCH --time=04:00:00
# Compress a library on a SLURM cluster, one share for each task of the array:
#
#   sbatch examples/slurm_array.sh IN OUT [KBPS]
#
# For GPUs add --gres=gpu:1 to the sbatch call. To finish an interrupted run, submit the same line
# again.
# When all tasks are done: spresso report OUT/report.*.jsonl
set -u
in=${1:?usage: slurm_array.sh IN OUT [KBPS]} out=${2:?usage: slurm_array.sh IN OUT [KBPS]}

export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}
exec spresso compress -q -b "${3:-0.096}" -r --output-dir "$out" --resume \
    --shard auto --report "$out/report.$SLURM_ARRAY_TASK_ID.jsonl" -- "$in"
