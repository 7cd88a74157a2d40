#!/bin/sh
# Builds model.plan from model.onnx with the TensorRT of this image, for the GPU of this node.
set -eu
cd "$(dirname "$0")"
rm -rf results
mkdir -p results
exec </dev/null

status() {
    echo "$1" >results/status
    exit 0
}

trtexec=${TRTEXEC:-/usr/src/tensorrt/bin/trtexec}
[ -x "$trtexec" ] || trtexec=$(command -v trtexec || true)
[ -n "$trtexec" ] || status no-trtexec

# The image's own word, else trtexec's banner: [TensorRT v101303] is 10.13.3, [TensorRT v8601] is 8.6.1.
version=${TRT_VERSION:-}
version=${version%%+*}
if [ -z "$version" ]; then
    digits=$("$trtexec" --version 2>&1 | sed -n 's/.*\[TensorRT v\([0-9]*\)\].*/\1/p' | head -n 1)
    # three numbers of two digits each; up to 8.x the first had one
    if [ "${digits:-0}" -ge 100000 ]; then
        version=$((digits / 10000)).$((digits / 100 % 100)).$((digits % 100))
    elif [ "${digits:-0}" -ge 1000 ]; then
        version=$((digits / 1000)).$((digits / 100 % 10)).$((digits % 100))
    fi
fi
echo "${version:-unknown}" >results/tensorrt
major=${version%%.*}
case $major in
    '' | *[!0-9]*) status version-unknown ;;
esac
[ "$major" -ge 10 ] || status too-old
typing=
[ "$major" -gt 10 ] || typing=--stronglyTyped  # from 11 on there is no other way, and no such option

query=name,driver_version,compute_cap
nvidia-smi --query-gpu=$query --format=csv,noheader >results/gpu 2>results/gpu.log || true
product=A100-SXM4-40GB-MIG-1g.5gb
[ -n "$product" ] || product=$(head -n 1 results/gpu | cut -d, -f1 | tr -c 'A-Za-z0-9._\n-' '-')
# Tactics are timed per product (a MIG slice is one) and per TensorRT: no other pair may read this file.
cache=
if [ -n "$product" ]; then
    mkdir -p "${SEAWALL_TIMING_CACHE:-cache}"
    cache=--timingCacheFile=${SEAWALL_TIMING_CACHE:-cache}/$product-$version.tc
fi

rm -f model.plan
"$trtexec" --onnx=model.onnx --saveEngine=model.plan --skipInference $typing $cache \
    --memPoolSize=workspace:4096 \
    --builderOptimizationLevel=3 \
    '--minShapes=ids:1x1,'"'"'type:0'"'"':1x1' \
    '--optShapes=ids:8x24,'"'"'type:0'"'"':8x1' \
    '--maxShapes=ids:8x24,'"'"'type:0'"'"':8x1' \
    --sparsity=enable \
    --hardwareCompatibilityLevel=sameComputeCapability \
    >results/build.log 2>&1 || status build
[ -s model.plan ] || status build

run() {
    size=$1
    shift
    "$trtexec" --loadEngine=model.plan --useCudaGraph "$@" \
        --loadInputs="$(cat inputs/$size/list)" \
        --exportOutput=results/output-$size.json --exportTimes=results/times-$size.json \
        >results/run-$size.log 2>&1 || status "run-$size"
}

run 1 '--shapes=ids:1x24,'"'"'type:0'"'"':1x1' --duration=6 --warmUp=500 --avgRuns=50 --percentile=99
run 2 '--shapes=ids:2x24,'"'"'type:0'"'"':2x1' --duration=6 --warmUp=500 --avgRuns=50 --percentile=99
run 4 '--shapes=ids:4x24,'"'"'type:0'"'"':4x1' --duration=6 --warmUp=500 --avgRuns=50 --percentile=99
run 8 '--shapes=ids:8x24,'"'"'type:0'"'"':8x1' --duration=6 --warmUp=500 --avgRuns=50 --percentile=99
status done
