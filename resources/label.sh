#!/bin/sh
# Label frames for so many minutes, then collect what is labelled; given again, it goes on.
# From the repository's folder, in an environment with GPAW (make .venv/.dft-ready):
#   sh resources/label.sh MINUTES [PROCESSES]
set -eu
end=$(($(date +%s) + 60 * $1)) processes=${2:-1}

# Labels until the end the frames of a file that a folder of resources has no label of.
label() {
  frames=$1 labels=resources/$2/gpaw-pbe.extxyz.xz folder=local/labelled-$2
  left=$((end - $(date +%s)))
  set -- "$frames" --engine gpaw --processes "$processes" --out "$folder"
  [ ! -f "$labels" ] || set -- "$@" --known "$labels"
  [ "$left" -le 0 ] || timeout "$left" vitrion label "$@" || [ $? -eq 124 ]
  [ ! -d "$folder" ] || vitrion dataset collect "$folder" --out "$labels"
}

mkdir -p local
[ -f local/dft-crystals.extxyz ] ||
  python resources/dft-crystals/make_crystals.py resources/crystals/crystals.extxyz \
    resources/crystals/substitutes.extxyz local/dft-crystals.extxyz
label resources/dft-glasses-to-label.extxyz.xz dft-glasses
label local/dft-crystals.extxyz dft-crystals
