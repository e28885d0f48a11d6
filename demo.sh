#!/bin/sh
# The main job on built-in data: a student trained alone and a distilled one, same steps, data and
# seed; both scored beside their teacher on real photographs; then one rainy photograph restored.
set -eu
out=demo/$(date +%Y%m%d-%H%M%S)

run() {
    echo
    echo "\$ $*"
    "$@"
}

run irkd train --preset demo --out "$out/student-alone"
run irkd distill --preset demo --out "$out/distilled"
run irkd evaluate --name "student alone=$out/student-alone" --name "distilled student=$out/distilled" \
    --name "teacher=demo-teacher" --data photographs --task derain --baseline "student alone" \
    --json "$out/scores.json" --report "$out/report"

mkdir -p "$out/photograph"
python -c "import sys, skimage.data, skimage.io; skimage.io.imsave(sys.argv[1], skimage.data.coffee())" \
    "$out/photograph/coffee.png"
run irkd data make "$out/rain" --task derain --from "$out/photograph" --seed 5
run irkd restore "$out/rain/input/000001.png" --model "$out/distilled" -o "$out/restored.png" --compare

echo
echo "The report: $out/report/report.html"
