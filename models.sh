#!/bin/sh
# Makes models for the package: sh models.sh [NAME ...]; all of them when none is named.
# Goes on where it was stopped. Runs are kept in runs/shipped; results go
# to src/irkd/shipped, where each needs its card beside it.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- general derain dehaze deblur denoise

# train NAME [OPTION ...]: the run of a preset, begun or gone on with.
train() {
    run="runs/shipped/$1"
    if [ -f "$run/preset.yaml" ]; then
        irkd train --resume "$run"
    else
        irkd train --preset "$@" --out "$run"
    fi
}

for name in "$@"; do
    case $name in
        denoise) start=denoise-first ;;
        *) start=pretrained ;;
    esac
    train "$start"
    train "$name" --set student.weights="runs/shipped/$start"
    irkd export "runs/shipped/$name" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
