#!/bin/sh
# One job of `submit.sh`: rmtgen with the words given. A task of an array does its share.
exec ${RMTGEN:-rmtgen} run "$@" \
  ${SLURM_ARRAY_TASK_ID:+"shard=$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"}
