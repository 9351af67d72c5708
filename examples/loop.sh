#!/bin/bash
# Compress a folder of sounds one call at a time. Usage: loop.sh IN OUT [KBPS]
#
# The simplest way, and the slowest, because the codec is loaded for every file. Prefer
#   spresso compress IN -r --output-dir OUT --resume
# and use the loop only where something else has to be done with each file.
set -u
in=${1:?usage: loop.sh IN OUT [KBPS]} out=${2:?usage: loop.sh IN OUT [KBPS]} kbps=${3:-0.096}

failed=0
while IFS= read -r -d '' file; do # NUL ends a name, which may hold any other character
    name=${file#"$in"/}
    spresso compress -q -b "$kbps" --resume -o "$out/${name%.*}.spr" -- "$file" || failed=1
done < <(find "$in" -type f \( -iname '*.wav' -o -iname '*.flac' \) -print0 | sort -z)
exit "$failed"
