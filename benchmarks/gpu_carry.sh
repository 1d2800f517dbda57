#!/usr/bin/env bash
# Fill a folder with the wheels that benchmarks/gpu_check.sh needs and a machine with torch, transformers and accelerate may lack. To be
# called where there is a network; the folder (some 15 MB, outside git) then goes along with the repository.
#   benchmarks/gpu_carry.sh [FOLDER]      WHEELS_PYTHON=3.12, the version there
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-gpu-wheels} version=${WHEELS_PYTHON:-3.12} python=${PYTHON:-.venv/bin/python}
packages="alembic annotated-types antlr4-python3-runtime greenlet latex2sympy2_extended Mako math-verify pydantic pydantic_core SQLAlchemy typing-inspection"
platforms=$(printf -- '--platform manylinux%s_x86_64 ' 2014 _2_17 _2_24 _2_27 _2_28)
mkdir -p "$folder"
rm -f "$folder"/*.whl
for package in $packages; do
    # shellcheck disable=SC2086
    "$python" -m pip download -q --no-deps --only-binary=:all: --python-version "$version" --implementation cp $platforms \
        -d "$folder" -c constraints.txt "$package"
done
git rev-parse --short HEAD >"$folder/commit"
du -sh "$folder"
