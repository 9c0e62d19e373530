#!/bin/sh
# Makes the sample clips that the emulator serves, one for each ratio: two
# seconds of H.264 and AAC with the index in front (faststart). Run it with
# "go generate ./internal/emulator"; it needs ffmpeg with libx264.
set -eu
cd "$(dirname "$0")"

sample() { # name, size, hue
	ffmpeg -hide_banner -loglevel error -y \
		-f lavfi -i "testsrc2=size=$2:rate=15:duration=2,hue=h=$3" \
		-f lavfi -i "sine=frequency=$((220 + $3)):sample_rate=22050:duration=2" \
		-c:v libx264 -profile:v main -pix_fmt yuv420p -crf 30 -preset veryslow -g 30 \
		-c:a aac -b:a 24k -ac 1 \
		-map_metadata -1 -fflags +bitexact -flags:v +bitexact -flags:a +bitexact \
		-movflags +faststart "$1.mp4"
}

sample 9x16 180x320 0
sample 1x1 240x240 90
sample 4x5 224x280 180
sample 16x9 320x180 270
