#!/bin/bash
# Compress a folder with several processes on one machine. Usage: xargs.sh IN OUT [PROCESSES] [KBPS]
#
# Every process takes the files that hash to its share, so each loads the codec once and none waits
# for another. Run it again after an interruption: --resume goes on where it stopped.
set -u
in=${1:?usage: xargs.sh IN OUT [PROCESSES] [KBPS]} out=${2:?usage: xargs.sh IN OUT [PROCESSES] [KBPS]}
processes=${3:-4} kbps=${4:-0.096}

export OMP_NUM_THREADS=1 # the processes share the cores; threads of each would only get in the way
seq 0 $((processes - 1)) | xargs -P "$processes" -I '{}' \
    spresso compress -q -b "$kbps" -r --output-dir "$out" --resume \
    --shard "{}/$processes" --report "$out/report.{}.jsonl" -- "$in"
failed=$?

spresso report "$out"/report.*.jsonl
exit "$failed"
