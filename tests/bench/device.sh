#!/bin/sh
# Tests and benchmarks of one CUDA device: sh tests/bench/device.sh FOLDER
#
# FOLDER receives figures.csv. Each part is a process of its own with a limit of seconds, so that a
# failure leaves the others; the status is 1 if one failed. The limits add up to six minutes. PYTHON
# names the interpreter. Without a device the parts run with small sizes, which shows that they run.
set -u
folder=${1:?usage: sh tests/bench/device.sh FOLDER}
python=${PYTHON:-python3}
mkdir -p "$folder"
FIGURES=$folder/figures.csv
failed=0
export FIGURES PYTHONUNBUFFERED=1

part() { # SECONDS ARGUMENTS...
    limit=$1
    shift
    echo "== $*"
    timeout "$limit" "$python" -m "$@" || failed=1
}

part 80 pytest -q --tb=short tests/gpu
part 70 tests.bench products
part 80 tests.bench pass_rates
part 30 tests.bench solves
part 100 tests.bench cuda
exit $failed
