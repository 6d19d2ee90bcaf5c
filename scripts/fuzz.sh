#!/bin/sh
# Runs fuzz targets from the kept corpora: scripts/fuzz.sh SECONDS [TARGET...]. Needs nightly and cargo-fuzz.
#
# What is found stays in fuzz/found (inputs that reach new code) and fuzz/artifacts (inputs that end a target). An input
# may take 10 s; a target begins with some 40 MB and may grow by 64 and what libFuzzer keeps for itself.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?"how many seconds each target runs"}
shift
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
for target in "$@"; do
    mkdir -p "fuzz/found/$target"
    case $target in ipc_frames | chunk | manifest) longest=1048576 ;; *) longest=65536 ;; esac
    # No sanitizer: the code is safe Rust, and SQLite is built without one anyway.
    cargo +nightly fuzz run --sanitizer none "$target" "fuzz/found/$target" "fuzz/corpus/$target" -- \
        -dict=fuzz/words.dict -max_total_time="$seconds" -max_len="$longest" -timeout=10 -rss_limit_mb=128 \
        -print_final_stats=1
done
