#!/bin/sh
# Makes models for the package: sh models.sh [NAME ...]; all of them when none is named.
# Goes on where it was stopped. Runs are kept in runs/shipped; results go to src/irkd/shipped, where
# each needs its card beside it. What each card says of machine, precision and hours is how it was
# made; PRECISION=bf16 is faster where the processor has instructions for it.
set -eu
cd "$(dirname "$0")"
[ $# -gt 0 ] || set -- derain dehaze denoise deblur denoise-fast judge
runs=runs/shipped

# train RUN [OPTION ...]: begun, or gone on with; by `irkd $command`.
command=train
train() {
    run="$runs/$1"
    shift
    if [ -f "$run/preset.yaml" ]; then
        irkd "$command" --resume "$run"
    else
        irkd "$command" --out "$run" --precision "${PRECISION:-auto}" "$@"
    fi
}

# after START RUN UNDAMAGED BEST STEPS SEED [OPTION ...]: a run that begins where START ended. With
# more images undamaged it learns to leave good ones alone; from the beginning, so many would keep a
# network from learning anything else.
after() {
    start=$1 run=$2 undamaged=$3 best=$4 steps=$5 seed=$6
    shift 6
    loss="{name: none, reconstruction_loss: psnr, best: $best}"
    train "$run" --preset "$name" --set student.weights="$runs/$start" \
        --set "methods=[$loss${method:+, $method}]" \
        --set data.undamaged="$undamaged" --set training.steps="$steps" \
        --set training.seed="$seed" "$@"
}

# deeper START RUN ...: the same for a teacher, which has more blocks.
deeper() {
    after "$@" --set student.grow=true --set student.blocks="$deep"
}

# taught TEACHER START RUN ...: the same for a student of TEACHER. Details of the teacher's output
# (wavelets) count beside the references: the method that measured best.
taught() {
    network="arch: $arch, widths: $widths, blocks: $deep, weights: $runs/$1"
    shift
    command=distill
    method=$wavelet
    after "$@" --set "teacher={$network}"
    command=train
    method=
}

# between FROM TO SHARE NAME: no training, but weights on the line between those of two runs.
between() {
    mkdir -p "$runs/$4"
    [ -f "$runs/$4/student.safetensors" ] ||
        python -m bench.between "$runs/$1" "$runs/$2" "$3" "$runs/$4/student.safetensors"
}

# gentler FROM SHARE NAME: no training, but SHARE of what a run changes.
gentler() {
    mkdir -p "$runs/$3"
    [ -f "$runs/$3/student.safetensors" ] ||
        python -m bench.gentler "$runs/$1" "$2" "$runs/$3/student.safetensors"
}

method=
arch=resunet
widths='[48, 48, 64, 96]' deep='[2, 6, 8, 8]'
wavelet='{name: wavelet, reconstruction: 0, weight: 15}'
# Options that end in a rate.
adam="--set data.count=800 --set training.lr"
muon="--set training.optimizer=muon --set training.weight_decay=0.01 --set training.clip_norm=50
    --set training.schedule=cosine"
long="$muon --set training.lr=3e-4 --set training.warmup_steps=50 --set training.average=0.995
    --set training.matrix_lr"
streets="$muon --set training.lr=3e-4 --set training.warmup_steps=40 --set training.average=0.995
    --set data.train=streets --set data.count=500 --set training.matrix_lr"
daylight="$muon --set training.lr=3e-4 --set training.warmup_steps=40 --set training.average=0.995
    --set data.train=daylight --set training.patch=192 --set training.batch_size=3
    --set training.matrix_lr"
fabrics="$muon --set training.lr=4e-4 --set training.warmup_steps=50 --set training.average=0.995
    --set data.train=fabrics --set data.count=1000 --set data.saved=0.25
    --set training.patch=128 --set training.batch_size=7 --set training.matrix_lr"
# For networks that see dehazings beside the image.
hazy="--set student.arch=dehazeunet --set student.grow=true $daylight=0.004
    --set training.average=0.99"
gentle="$muon --set training.lr=1e-4 --set training.average=0.99 --set training.matrix_lr"

# shellcheck disable=SC2086  # these hold several words each
for name in "$@"; do
    case $name in
        derain)
            train derain-first --preset derain
            after derain-first derain-second 0.1 40 3500 31 $adam=4e-4
            deeper derain-second derain-teacher-first 0.15 40 430 103 $gentle=0.001 \
                --set training.warmup_steps=40 --set data.count=320
            taught derain-teacher-first derain-second derain-third 0.15 40 430 104 $gentle=0.001 \
                --set training.warmup_steps=40 --set data.count=320
            after derain-teacher-first derain-teacher-second 0.25 40 650 202 $streets=0.002 \
                --set training.lr=2e-4 --set student.blocks="$deep" --set training.batch_size=5 \
                --set data.saved=0.2
            taught derain-teacher-second derain-third derain-fourth 0.25 40 900 204 \
                $streets=0.002 --set training.lr=2e-4 --set data.saved=0.2
            after derain-teacher-first derain-teacher 0.25 40 1000 222 $streets=0.004 \
                --set student.blocks="$deep" --set training.batch_size=5 \
                --set data.mixture='{derain: 1.4, derain-heavy: 1}' --set data.saved=0.2
            taught derain-teacher derain-fourth derain-fifth 0.25 40 720 224 $streets=0.004 \
                --set specialists="{derain: $runs/derain-fourth}" \
                --set data.mixture='{derain: 1.7, derain-heavy: 1}' --set data.saved=0.2
            taught derain-teacher derain-fifth derain-sixth 0.27 40 1450 314 $daylight=0.004 \
                --set specialists="{derain: $runs/derain-fourth}" \
                --set data.mixture='{derain: 1.7, derain-heavy: 1}' --set data.saved=0.2 \
                --set data.count=400
            # Alone, beside dehazings of the image: its teacher, which sees none, is worse at veils.
            after derain-sixth derain-seventh 0.27 40 1700 505 $hazy --set data.count=500 \
                --set data.mixture='{derain: 1.6, derain-heavy: 1.1}' --set data.saved=0.2
            after derain-seventh derain 0.27 40 3400 611 --set student.arch=dehazeunet \
                $daylight=0.005 --set data.count=700 --set data.saved=0.2 \
                --set data.mixture='{derain: 1.7, derain-heavy: 1}'
            ;;
        denoise)
            # After derain, of which it learns to leave good images alone.
            train denoise-first --preset denoise
            after denoise-first denoise-second 0.3 45 4000 31 $adam=3e-4
            after denoise-second denoise-third 0.5 45 3000 32 $adam=3e-4
            widths='[48, 64, 96]' deep='[3, 4, 6]'
            wavelet='{name: wavelet, reconstruction: 0, weight: 25}'
            deeper denoise-third denoise-teacher-first 0.3 48 1050 61 $long=0.004 \
                --set data.count=600
            after denoise-teacher-first denoise-teacher 0.4 46 650 71 $long=0.004 \
                --set student.blocks="$deep" --set data.train=surfaces --set data.count=500
            taught denoise-teacher denoise-third denoise-fourth 0.45 46 850 72 $long=0.004 \
                --set data.train=surfaces --set data.count=500
            taught denoise-teacher denoise-fourth denoise-fifth 0.5 46 450 315 $daylight=0.003 \
                --set specialists="{undamaged: $runs/derain-teacher}" \
                --set training.lr=2e-4 --set training.average=0.99 --set data.count=200
            between denoise-fourth denoise-fifth 0.5 denoise-sixth
            wavelet='{name: wavelet, reconstruction: 0, weight: 15}'
            taught denoise-teacher denoise-sixth denoise-seventh 0.42 46 700 507 $daylight=0.003 \
                --set specialists="{undamaged: $runs/derain-teacher}" --set data.train=surfaces \
                --set data.saved=0.3 --set training.lr=2e-4 --set training.average=0.99 \
                --set data.count=300
            # A block from the lowest level to the highest, where details are; the same size.
            after denoise-seventh denoise-eighth 0.3 46 6600 601 $fabrics=0.005 \
                --set student.blocks='[4, 2, 1]' --set student.grow=true --set student.shrink=true
            later="--set student.blocks=[4,2,1] --set training.lr=3e-4"
            after denoise-eighth denoise-ninth 0.32 46 2500 603 $fabrics=0.004 $later \
                --set data.mixture='{denoise: 3, denoise-speckle: 1}' --set data.count=700 \
                --set training.warmup_steps=40
            noises='denoise: 3, denoise-mosaic: 1.1, denoise-speckle: 0.6, denoise-grain: 0.6'
            after denoise-ninth denoise 0.3 46 1600 604 $fabrics=0.004 $later \
                --set data.mixture="{$noises}" --set data.count=400 \
                --set training.average=0.99 --set training.warmup_steps=30
            widths='[48, 48, 64, 96]' deep='[2, 6, 8, 8]'
            ;;
        dehaze)
            # After derain, of which it learns to leave good images alone.
            train dehaze-first --preset dehaze
            after dehaze-first dehaze-second 0.3 45 3000 31 $adam=3e-4
            after dehaze-second dehaze-third 0.3 40 3300 32 $adam=4e-4 --set data.saved=0.3 \
                --set data.count=1000
            deeper dehaze-third dehaze-teacher 0.35 42 900 201 $streets=0.003 \
                --set training.lr=2e-4 --set training.batch_size=5 --set data.saved=0.25
            taught dehaze-teacher dehaze-third dehaze-fourth 0.35 43 1100 213 $streets=0.003 \
                --set training.lr=2e-4 --set data.saved=0.25
            taught dehaze-teacher dehaze-fourth dehaze-fifth 0.35 43 1100 313 $daylight=0.003 \
                --set specialists="{undamaged: $runs/derain-teacher}" \
                --set training.lr=2e-4 --set data.saved=0.25 --set data.count=400
            between dehaze-fourth dehaze-fifth 0.5 dehaze-sixth
            # Alone from here on, beside dehazings of the image. Stopped at step 819, its rate half.
            gated="$hazy --set student.gated=true --set data.saved=0.25 --set data.count=500"
            after dehaze-sixth dehaze-seventh 0.3 42 1700 501 $gated
            after dehaze-seventh dehaze-eighth 0.12 42 1300 503 $gated
            after dehaze-eighth dehaze-ninth 0.12 42 8000 701 --set student.arch=dehazeunet \
                --set student.gated=true $daylight=0.005 --set data.train=varied \
                --set data.count=1000 --set data.saved=0.25
            after dehaze-ninth dehaze-tenth 0.12 42 7000 771 --set student.arch=dehazeunet \
                --set student.gated=true $daylight=0.005 --set data.train=tones \
                --set data.count=1000 --set data.saved=0.25
            gentler dehaze-tenth 0.85 dehaze
            ;;
        deblur)
            # After derain, of which it learns to leave good images alone.
            train deblur-first --preset deblur
            after deblur-first deblur-second 0.14 36 1700 25 --set training.matrix_lr=0.007 \
                --set training.lr=3e-4 --set data.mixture='{deblur-mild: 1, deblur: 1}' \
                --set data.count=500 --set data.saved=0.08 --set training.batch_size=6 \
                --set training.patch=112
            deeper deblur-second deblur-teacher-first 0.15 36 560 95 $gentle=0.006 \
                --set training.lr=3e-4 --set training.warmup_steps=40 --set data.count=320 \
                --set data.mixture='{deblur-mild: 1.2, deblur: 1}' --set data.saved=0.08 \
                --set training.batch_size=5 --set training.patch=128
            blurs='{deblur-mild: 1.3, deblur: 1}'
            small="--set data.count=400 --set data.saved=0.08 --set training.batch_size=6
                --set training.patch=112"
            after deblur-teacher-first deblur-teacher-second 0.15 36 900 216 $streets=0.006 $small \
                --set student.blocks="$deep" --set data.mixture="$blurs"
            taught deblur-teacher-second deblur-second deblur-third 0.15 36 650 217 \
                $streets=0.006 $small --set training.average=0.99 --set data.mixture="$blurs"
            # From here on beside deconvolutions of the image.
            arch=deconvunet
            beside="--set student.arch=$arch --set student.grow=true --set data.saved=0.2
                $daylight=0.006"
            blurs='{deblur-mild: 1.2, deblur: 1}' noisy='{deblur-mild: 1.1, deblur: 1, deblur-noisy: 0.7}'
            after deblur-third deblur-fourth 0.25 40 1100 402 $beside \
                --set data.mixture="$blurs"
            # Run with the first 252 of 1,100 steps of a cosine: the rate fell by an eighth.
            after deblur-teacher-second deblur-teacher-third 0.25 40 252 401 $beside \
                --set student.blocks="$deep" --set data.mixture="$blurs"
            # Stopped at step 742, its rate near nothing.
            after deblur-teacher-third deblur-teacher 0.25 40 850 403 $beside \
                --set student.blocks="$deep" --set data.mixture="$noisy" --set data.count=400
            taught deblur-teacher deblur-fourth deblur-fifth 0.3 40 480 404 $beside \
                --set specialists="{undamaged: $runs/derain-teacher}" \
                --set data.mixture="$noisy" --set data.count=300 --set training.average=0.99 \
                --set training.matrix_lr=0.004
            varied="--set student.arch=$arch $daylight=0.005 --set data.train=varied"
            after deblur-fifth deblur-sixth 0.3 40 4000 742 $varied --set data.saved=0.2 \
                --set data.mixture="$noisy" --set data.count=600
            after deblur-sixth deblur 0.3 41 7000 762 $varied --set data.saved=0.3 \
                --set data.mixture="$noisy" --set data.count=800
            arch=resunet
            ;;
        denoise-fast)
            # After denoise, two of whose runs are its teachers.
            command=distill
            train denoise-fast-first --preset denoise-fast --set teacher.blocks=[2,2,2] \
                --set teacher.weights=$runs/denoise-third
            command=train
            widths='[48, 64, 96]' deep='[4, 2, 1]'
            noises='denoise: 3, denoise-mosaic: 0.7, denoise-speckle: 0.4, denoise-grain: 0.4'
            taught denoise denoise-fast-first denoise-fast-second 0.25 46 6000 751 $fabrics=0.005 \
                --set data.mixture="{$noises}"
            noises='denoise: 3, denoise-mosaic: 1.5, denoise-speckle: 0.4, denoise-grain: 0.4'
            taught denoise denoise-fast-second denoise-fast-third 0.1 42 8000 751 $fabrics=0.005 \
                --set data.mixture="{$noises}" --set data.saved=0.4
            noises='denoise: 3, denoise-mosaic: 1.2, denoise-speckle: 0.5, denoise-grain: 0.4'
            taught denoise denoise-fast-third denoise-fast-fourth 0.12 44 10000 753 \
                $fabrics=0.005 --set data.mixture="{$noises}" --set data.saved=0.35
            # More photographs saved as JPEG, of which it made some worse.
            taught denoise denoise-fast-fourth denoise-fast-fifth 0.15 44 8000 781 \
                $fabrics=0.005 --set data.mixture="{$noises}" --set data.saved=0.5
            taught denoise denoise-fast-fifth denoise-fast 0.15 44 5000 782 $fabrics=0.005 \
                --set data.mixture="{$noises}" --set data.saved=0.6
            widths='[48, 48, 64, 96]' deep='[2, 6, 8, 8]'
            ;;
        judge)
            # Chooses between the models as they are in the package.
            python -m bench.judge src/irkd/inference/judge.safetensors --work "$runs/judge"
            continue
            ;;
    esac
    irkd export "$runs/$name" --to safetensors --precision fp16 --overwrite \
        -o "src/irkd/shipped/$name.safetensors"
done
