#!/bin/sh
# Makes models for the package: sh models.sh [NAME ...]; all of them when none is named.
# (general has its two commands in its card.) Goes on where it was stopped. Runs are kept in
# runs/shipped; results go to src/irkd/shipped, where each needs its card beside it.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- dehaze denoise derain

# train RUN [OPTION ...]: begun, or gone on with.
train() {
    run="runs/shipped/$1"
    shift
    if [ -f "$run/preset.yaml" ]; then
        irkd train --resume "$run"
    else
        irkd train --out "$run" "$@"
    fi
}

# after START RUN UNDAMAGED BEST STEPS LR SEED: a run that begins where START ended. With more images
# undamaged it learns to leave good ones alone; from the beginning, so many would keep a network
# from learning anything else.
after() {
    train "$2" --preset "$name" --set student.weights="runs/shipped/$1" \
        --set "methods=[{name: none, reconstruction_loss: psnr, best: $4}]" \
        --set data.undamaged="$3" --set data.count=800 \
        --set training.steps="$5" --set training.lr="$6" --set training.seed="$7"
}

for name in "$@"; do
    train "$name-first" --preset "$name"
    case $name in
        derain) after derain-first derain 0.1 40 3500 4e-4 31 ;;
        denoise)
            after denoise-first denoise-second 0.3 45 4000 3e-4 31
            after denoise-second denoise 0.5 45 3000 3e-4 32
            ;;
        *) after "$name-first" "$name" 0.3 45 3000 3e-4 31 ;;
    esac
    irkd export "runs/shipped/$name" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
