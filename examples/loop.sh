#!/bin/bash
# Compress a folder of sounds one call at a time. Usage: loop.sh IN OUT [KBPS]
#
# The plainest way, and the slowest: the codec is loaded for every file. Prefer
#   spresso compress IN -r --output-dir OUT --resume
# and keep the loop for when something else has to happen to each file.
set -u
in=${1:?usage: loop.sh IN OUT [KBPS]} out=${2:?usage: loop.sh IN OUT [KBPS]} kbps=${3:-0.096}

failed=0
while IFS= read -r -d '' file; do # NUL ends a name: it may hold anything else
    name=${file#"$in"/}
    spresso compress -q -b "$kbps" --resume -o "$out/${name%.*}.spr" -- "$file" || failed=1
done < <(find "$in" -type f \( -iname '*.wav' -o -iname '*.flac' \) -print0 | sort -z)
exit "$failed"
