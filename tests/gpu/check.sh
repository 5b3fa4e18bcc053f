#!/bin/bash
# Everything that needs a GPU, part by part: bash tests/gpu/check.sh [--dry] [PART...], in the repository's root.
#
# --dry runs the same lines on the CPU at tiny size, to find mistakes in the checks without a GPU.
#
# Each part has a limit of its own and is killed there; the next one goes on. The limits add up to less than 12 minutes.
# What a part prints goes to $OUT/PART.log, by default .gpu/out, and its last lines to stdout. Exit code 1 when a part
# failed. PYTHON: the interpreter, by default python3.
#
# On a machine without network: first make .gpu with pack.sh elsewhere, and take it along. .gpu/csrc.so.xz, if it is
# there, holds gsplat's kernels, compiled beforehand for that machine's card, Python and torch as the module `csrc`;
# without it gsplat compiles them at first use.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
python=${PYTHON:-python3} out=${OUT:-.gpu/out} failed=0 dry=()
[ "${1:-}" != --dry ] || { dry=(--dry); shift; }
mkdir -p "$out"
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false

if compgen -G ".gpu/*.whl" > /dev/null; then
  site=$PWD/.gpu/site
  if [ ! -d "$site" ]; then
    install=(pip install -q --no-index --no-deps --no-compile --target "$site")
    "$python" -m "${install[@]}" .gpu/*.whl || { rm -rf "$site"; exit 1; }
  fi
  export PYTHONPATH=$site:$PWD
  if [ -f .gpu/csrc.so.xz ] && [ ! -f "$site/gsplat/csrc.so" ]; then
    xz -dc .gpu/csrc.so.xz > "$site/gsplat/csrc.so"
    "$python" -c "import torch, gsplat.csrc" || rm "$site/gsplat/csrc.so"
  fi
fi

part() { # name, seconds, command...
  local name=$1 limit=$2 start=$SECONDS code
  shift 2
  timeout -k 5 "$limit" "$@" > "$out/$name.log" 2>&1
  code=$?
  [ $code -eq 0 ] || failed=1
  echo "=== $name: exit code $code, $((SECONDS - start)) s of $limit"
  grep -v "Warning\|warn(" "$out/$name.log" | tail -n 45
}

[ $# -gt 0 ] || set -- environment tests splat small cogvideox distill
for name in "$@"; do
  case $name in
    environment) part environment 45 "$python" -m tests.gpu.check environment "${dry[@]}" ;;
    tests)
      mapfile -t files < <(grep -rl --include="test_*.py" 'reason="needs CUDA"' tests)
      part tests 90 "$python" -m pytest -rs -k cuda "${files[@]}"
      ;;
    splat) part splat 80 "$python" -m tests.gpu.check splat "${dry[@]}" ;;
    small) part small 110 "$python" -m tests.gpu.check small "${dry[@]}" ;;
    cogvideox) part cogvideox 220 "$python" -m tests.gpu.check cogvideox "${dry[@]}" ;;
    distill) part distill 150 "$python" -m tests.gpu.check distill "${dry[@]}" ;;
    *) echo "no part $name"; failed=1 ;;
  esac
done
exit $failed
