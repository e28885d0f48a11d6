#!/bin/sh
# Makes models for the package: sh models.sh [NAME ...]; all of them when none is named.
# (general has its two commands in its card.) Goes on where it was stopped. Runs are kept in
# runs/shipped; results go to src/irkd/shipped, where each needs its card beside it.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- dehaze denoise derain deblur

# train RUN PRESET [OPTION ...]: begun, or gone on with.
train() {
    run="runs/shipped/$1"
    shift
    if [ -f "$run/preset.yaml" ]; then
        irkd train --resume "$run"
    else
        irkd train --preset "$@" --out "$run"
    fi
}

for name in "$@"; do
    train "$name-first" "$name"
    # Now a third of the images is undamaged, and it learns to leave good ones alone. From the
    # beginning, so many would keep it from learning anything else.
    steps=3000
    [ "$name" != denoise ] || steps=4000
    train "$name" "$name" --set student.weights="runs/shipped/$name-first" \
        --set 'methods=[{name: none, reconstruction_loss: psnr, best: 45}]' \
        --set data.undamaged=0.3 --set data.count=800 \
        --set training.steps=$steps --set training.lr=3e-4 --set training.seed=31
    irkd export "runs/shipped/$name" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
