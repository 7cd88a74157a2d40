"""The shell script that builds an engine, times it and has it answer; braces are doubled for str.format.

It ends with 0 also when TensorRT refuses: results/status says which step failed and the logs say why, so that
the phase after it can tell the person in one sentence. It fails only where nothing could be recorded.
"""

SCRIPT = """\
#!/bin/sh
# Builds model.plan from model.onnx with the TensorRT of this image, for the GPU of this node.
set -eu
cd "$(dirname "$0")"
rm -rf results
mkdir -p results
exec </dev/null

status() {{
    echo "$1" >results/status
    exit 0
}}

trtexec=${{TRTEXEC:-/usr/src/tensorrt/bin/trtexec}}
[ -x "$trtexec" ] || trtexec=$(command -v trtexec || true)
[ -n "$trtexec" ] || status no-trtexec

# The image's own word, else trtexec's banner: [TensorRT v101303] is 10.13.3, [TensorRT v8601] is 8.6.1.
version=${{TRT_VERSION:-}}
version=${{version%%+*}}
if [ -z "$version" ]; then
    digits=$("$trtexec" --version 2>&1 | sed -n 's/.*\\[TensorRT v\\([0-9]*\\)\\].*/\\1/p' | head -n 1)
    # three numbers of two digits each; up to 8.x the first had one
    if [ "${{digits:-0}}" -ge 100000 ]; then
        version=$((digits / 10000)).$((digits / 100 % 100)).$((digits % 100))
    elif [ "${{digits:-0}}" -ge 1000 ]; then
        version=$((digits / 1000)).$((digits / 100 % 10)).$((digits % 100))
    fi
fi
echo "${{version:-unknown}}" >results/tensorrt
major=${{version%%.*}}
case $major in
    '' | *[!0-9]*) status version-unknown ;;
esac
[ "$major" -ge 10 ] || status too-old
typing=
[ "$major" -gt 10 ] || typing=--stronglyTyped  # from 11 on there is no other way, and no such option

query=name,driver_version,compute_cap
nvidia-smi --query-gpu=$query --format=csv,noheader >results/gpu 2>results/gpu.log || true
product={product}
[ -n "$product" ] || product=$(head -n 1 results/gpu | cut -d, -f1 | tr -c 'A-Za-z0-9._\\n-' '-')
# Tactics are timed per product (a MIG slice is one) and per TensorRT: no other pair may read this file.
cache=
if [ -n "$product" ]; then
    mkdir -p "${{SEAWALL_TIMING_CACHE:-cache}}"
    cache=--timingCacheFile=${{SEAWALL_TIMING_CACHE:-cache}}/$product-$version.tc
fi

rm -f model.plan
"$trtexec" --onnx=model.onnx --saveEngine=model.plan --skipInference $typing $cache \\
    {build} \\
    >results/build.log 2>&1 || status build
[ -s model.plan ] || status build

run() {{
    size=$1
    shift
    "$trtexec" --loadEngine=model.plan --useCudaGraph "$@" \\
        --loadInputs="$(cat inputs/$size/list)" \\
        --exportOutput=results/output-$size.json --exportTimes=results/times-$size.json \\
        >results/run-$size.log 2>&1 || status "run-$size"
}}

{runs}
status done
"""
