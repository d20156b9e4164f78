#!/bin/sh
# Draw and label frames for so many minutes, then collect what is labelled; given again, it goes on.
# From the repository's folder, in an environment with GPAW (make .venv/.dft-ready):
#   sh resources/label.sh MINUTES [PROCESSES]
set -eu
end=$(($(date +%s) + 60 * $1)) processes=${2:-1}

# Runs a command, but not longer than to the end.
within() {
  left=$((end - $(date +%s)))
  [ "$left" -le 0 ] || timeout "$left" "$@" || [ $? -eq 124 ]
}

mkdir -p local
[ -f local/dft-glasses.extxyz.xz ] ||
  within python resources/dft-glasses/draw_frames.py local/drawn local/dft-glasses.extxyz.xz
[ -f local/dft-crystals.extxyz ] ||
  python resources/dft-crystals/make_crystals.py resources/crystals/crystals.extxyz \
    resources/crystals/substitutes.extxyz local/dft-crystals.extxyz
for frames in local/dft-glasses.extxyz.xz local/dft-crystals.extxyz; do
  [ -f "$frames" ] || continue
  name=$(basename "$frames")
  name=${name%%.*}
  labels=resources/$name/gpaw-pbe.extxyz.xz folder=local/labelled-$name
  [ ! -f "$labels" ] || set -- --known "$labels"
  [ -f "$labels" ] || set --
  within vitrion label "$frames" --engine gpaw --processes "$processes" --out "$folder" "$@"
  [ ! -d "$folder" ] || vitrion dataset collect "$folder" --out "$labels"
done
