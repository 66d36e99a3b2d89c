#!/bin/sh
# From nothing to a scored video: makes music and pictures, trains codec, decoder and joint model, exports, scores.
#
#   sh tools/speedrun.sh           an hour on a laptop: the sizes that ship, barely trained. You hear that it follows.
#   sh tools/speedrun.sh --quick   minutes: the smallest sizes, few steps. It shows the way; nothing of it sounds.
#
# SPEEDRUN_MINUTES: of training in all (60; --quick counts steps). SPEEDRUN_FOLDER: where everything goes
# (build/speedrun). PYTHON: with `pip install -e '.[train]'`. No network is needed. Run it again after a stop: it goes on
# where it was; for a new beginning delete the folder.
set -eu
cd "$(dirname "$0")/.."

size=mini pieces=40 seconds=60 span=576 extra="--batch 8"
# A share of the training time, as an option.
limit() { echo "--time-limit $(($1 * ${SPEEDRUN_MINUTES:-60} * 60 / 100))"; }
if [ "${1:-}" = --quick ]; then
    size=debug pieces=6 seconds=14 span=160 extra="--steps-per-crop 160 --save-every 30"
    limit() { echo "--steps 60"; }
fi
folder=${SPEEDRUN_FOLDER:-build/speedrun}
# The repository's own environment if it is there.
if [ -z "${PYTHON:-}" ]; then if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; else PYTHON=python3; fi; fi

# What a step is about, with the time since the start.
begun=$(date +%s)
say() { echo "== $(($(date +%s) - begun)) s: $1"; }

say "1. Music written by rule and pictures drawn by formula (CC0): no download, and every beat is known."
[ -f "$folder/bank.npz" ] || "$PYTHON" tools/make_speedrun_data.py "$folder" --pieces $pieces --seconds $seconds

say "2. All music as one long file of samples: training reads crops of it without decoding anything."
"$PYTHON" -m openvmas train corpus "$folder/listing.csv" "$folder/music" "$folder/waves"

say "3. The codec: sound to 50 steps of codes a second, and back. Everything after it speaks its language."
"$PYTHON" -m openvmas train codec "$folder/waves" "$folder/codec" --recipe "recipes/train/codec-$size.toml" \
    --loaders 1 $(limit 45) $([ $size = debug ] || echo --batch 8 --seconds 1.6 --continuous-steps 300)

say "4. Examples: what is heard in every piece (beats, accents, energy), its codes, and both in one file."
"$PYTHON" -m openvmas train examples listen "$folder/waves" "$folder/examples"
"$PYTHON" -m openvmas train examples encode "$folder/waves" "$folder/examples" "$folder/codec/codec.pt"
"$PYTHON" -m openvmas train examples pack "$folder/waves" "$folder/examples" "$folder/tags.npz" "$folder/packed"

say "5. The decoder: writes codes step by step, conditioned at every step on the music's own curves and tags."
"$PYTHON" -m openvmas train decoder "$folder/packed" "$folder/decoder" --recipe "recipes/train/decoder-$size.toml" \
    --loaders 1 --compile 0 $(limit 25) $extra

say "6. The joint model: the same decoder beside a video encoder, on music and on montages cut to it."
"$PYTHON" -m openvmas train joint "$folder/packed" "$folder/joint" --recipe "recipes/train/joint-$size.toml" \
    --bank "$folder/bank.npz" --start-from "$folder/decoder/decoder.pt" --loaders 1 --test-pairs 4 \
    $(limit 30) $extra

say "7. Export: ONNX graphs that score videos without PyTorch."
"$PYTHON" -m openvmas train export "$folder/codec/codec.pt" "$folder/joint/decoder.pt" "$folder/model" --name speedrun \
    --joint "$folder/joint" --span $span --licence CC0-1.0

say "8. Score the example with the weights just made."
"$PYTHON" -m openvmas score examples/city.mp4 --model "$folder/model" --output "$folder/city.scored.mp4" --overwrite

say "Done: $folder/city.scored.mp4"
