#!/bin/sh
# Make glasses of the library that are missing, for so many minutes; given again, it goes on.
# From the repository's folder, in its environment:
#   sh resources/glasses/make.sh MINUTES PROCESSES [LiAlCl/r0 ...]
set -eu
library=resources/glasses

if [ "$1" = glass ]; then # `glass END LiAlCl/r0`: one of the processes
  left=$(($2 - $(date +%s))) name=${3%/r*} replica=${3#*/r}
  [ ! -f "$library/$3/glass_checks.parquet" ] && [ "$left" -gt 0 ] || exit 0
  timeout "$left" vitrion quench "$name" --replica "$replica" --model shipped \
    --configfile $library/library.yaml --out "$library/$3" || [ $? -eq 124 ]
  exit
fi

end=$(($(date +%s) + 60 * $1)) processes=$2
shift 2
if [ $# -eq 0 ]; then
  set -- LiAlCl/r0 LiAlCl/r1 LiAlCl/r2 \
    $(tail -n +2 vitrion/data/compositions.tsv | cut -f 1 | grep -vx LiAlCl | sed 's|$|/r0|')
fi
printf '%s\n' "$@" | xargs -P "$processes" -n 1 sh "$0" glass "$end"
