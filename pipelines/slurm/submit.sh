#!/bin/sh
# Submit a run to Slurm: per stage an array of shares, then a job that gathers them and makes what is
# missing; at the end the report.
#
#   SBATCH='--gpus=1 --time=8:00:00' pipelines/slurm/submit.sh SHARES [CONFIG] [FIELD=VALUE ...]
#
# SBATCH holds options of every job, and RMTGEN the command, as in RMTGEN=.venv/bin/rmtgen.
set -eu
[ "${1:-0}" -ge 1 ] || { echo "usage: $0 SHARES [CONFIG] [FIELD=VALUE ...]" >&2; exit 2; }
shares=$1
shift
job=$(dirname "$0")/job.sh
submit() { # NAME, DEPENDENCY or nothing, OPTIONS of sbatch --, words of rmtgen
  name=$1 dependency=$2
  shift 2
  sbatch --parsable ${SBATCH:-} --job-name="$name" ${dependency:+--dependency="$dependency"} "$@"
}
before=
for stage in extract gram spectrum risk; do
  array=$(submit "$stage" "${before:+afterok:$before}" --array=1-"$shares" "$job" --stage "$stage" "$@")
  before=$(submit "$stage-whole" "afterany:$array" "$job" --stage "$stage" "$@")
done
submit report "afterok:$before" "$job" "$@"
