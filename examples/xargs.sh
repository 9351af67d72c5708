#!/bin/bash
# Compress a folder with several processes on one machine. Usage: xargs.sh IN OUT [PROCESSES] [KBPS]
#
# Every process takes the files whose names hash to its share, so each loads the codec once and none
# waits for another. After an interruption, run it again: --resume continues where it stopped.
set -u
in=${1:?usage: xargs.sh IN OUT [PROCESSES] [KBPS]} out=${2:?usage: xargs.sh IN OUT [PROCESSES] [KBPS]}
processes=${3:-4} kbps=${4:-0.096}

export OMP_NUM_THREADS=1 # one thread each: the processes already share the cores
seq 0 $((processes - 1)) | xargs -P "$processes" -I '{}' \
    spresso compress -q -b "$kbps" -r --output-dir "$out" --resume \
    --shard "{}/$processes" --report "$out/report.{}.jsonl" -- "$in"
failed=$?

spresso report "$out"/report.*.jsonl
exit "$failed"
