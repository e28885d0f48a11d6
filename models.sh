#!/bin/sh
# Makes models for the package: sh models.sh [NAME ...]; all of them when none is named.
# Goes on where it was stopped. Runs are kept in runs/shipped; results go
# to src/irkd/shipped, where each needs its card beside it.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- dehaze general denoise derain deblur

for name in "$@"; do
    run="runs/shipped/$name"
    if [ -f "$run/preset.yaml" ]; then
        irkd train --resume "$run"
    else
        irkd train --preset "$name" --out "$run"
    fi
    irkd export "$run" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
