#!/usr/bin/env bash
# What can only be seen on a GPU: python -m benchmarks.gpu, with packages that are missing here taken from a folder of wheels.
#   benchmarks/gpu_check.sh list | [PART...] [--small] [--minutes 7.5] [--out gpu-results] | report [--write FILE]
# PYTHON: the interpreter that has torch and transformers. WHEELS: the folder that benchmarks/gpu_carry.sh filled.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} wheels=${WHEELS:-gpu-wheels} site=${TMPDIR:-/tmp}/mtprl-gpu-site
if compgen -G "$wheels/*.whl" >/dev/null; then
    # No dependencies: what the interpreter has already stays as it is.
    "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$site" "$wheels"/*.whl
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
[ ! -f "$wheels/commit" ] || export MTPRL_COMMIT=${MTPRL_COMMIT:-$(cat "$wheels/commit")}
export CUBLAS_WORKSPACE_CONFIG=:4096:8 TOKENIZERS_PARALLELISM=false OMP_NUM_THREADS=${OMP_NUM_THREADS:-4}
exec "$python" -m benchmarks.gpu "$@"
