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

# after START RUN UNDAMAGED BEST STEPS LR SEED [OPTION ...]: a run that begins where START ended. With more images
# undamaged it learns to leave good ones alone; from the beginning, so many would keep a network
# from learning anything else.
after() {
    start=$1 run=$2 undamaged=$3 best=$4 steps=$5 lr=$6 seed=$7
    shift 7
    train "$run" --preset "$name" --set student.weights="runs/shipped/$start" \
        --set "methods=[{name: none, reconstruction_loss: psnr, best: $best}]" \
        --set data.undamaged="$undamaged" --set data.count=800 --set training.steps="$steps" \
        --set training.lr="$lr" --set training.seed="$seed" "$@"
}

for name in "$@"; do
    train "$name-first" --preset "$name"
    case $name in
        derain) after derain-first derain 0.1 40 3500 4e-4 31 ;;
        denoise)
            after denoise-first denoise-second 0.3 45 4000 3e-4 31
            after denoise-second denoise 0.5 45 3000 3e-4 32
            ;;
        dehaze)
            after dehaze-first dehaze-second 0.3 45 3000 3e-4 31
            after dehaze-second dehaze 0.3 40 3300 4e-4 32 --set data.saved=0.3 --set data.count=1000
            ;;
        *) after "$name-first" "$name" 0.3 45 3000 3e-4 31 ;;
    esac
    irkd export "runs/shipped/$name" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
