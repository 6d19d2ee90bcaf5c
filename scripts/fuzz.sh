#!/bin/sh
# Runs fuzz targets from the kept corpora: scripts/fuzz.sh SECONDS [TARGET...]. Needs nightly and cargo-fuzz.
#
# What is found stays in fuzz/found (inputs that reach new code) and fuzz/artifacts (inputs that end a target); `cargo
# +nightly fuzz cmin` says which of the former are worth keeping. An input may take 10 s, and memory may grow to 64 MB
# beyond what a target has when it begins.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?"how many seconds each target runs"}
shift
# Without a sanitizer: the code is safe Rust, and SQLite is built without one anyway.
build="--sanitizer none"
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
for target in "$@"; do
    mkdir -p "fuzz/found/$target"
    case $target in ipc_frames | chunk | manifest) longest=1048576 ;; *) longest=65536 ;; esac
    cargo +nightly fuzz run $build "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -dict=fuzz/words.dict -max_total_time="$seconds" -max_len="$longest" -timeout=10 -rss_limit_mb=192 \
        -print_final_stats=1
done
