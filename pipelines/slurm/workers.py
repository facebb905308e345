"""Dask workers as jobs of Slurm, by dask-jobqueue: print the address of their scheduler, and stay.

    pip install dask-jobqueue
    python pipelines/slurm/workers.py HOST JOBS [OPTION-OF-SBATCH ...]
    rmtgen run CONFIG cluster=ADDRESS

HOST is this machine as the nodes reach it. A job is one worker, on the GPU or the cores that the
options ask for. A worker that is gone is replaced by a new job; all jobs end with this script.
"""

import contextlib
import sys
import time

import dask
from dask_jobqueue import SLURMCluster

from rmtgen.stages.cluster import SETTINGS

host, jobs, *options = sys.argv[1:]
dask.config.set(SETTINGS)
with (
    contextlib.suppress(KeyboardInterrupt),
    SLURMCluster(
        cores=1,  # one thread for tasks; torch has the cores of the job
        memory="1GiB",  # a value must be there; the options say what a job gets
        job_directives_skip=["--cpus-per-task", "--mem", "#SBATCH -t"],
        job_extra_directives=options,
        job_script_prologue=["export OMP_NUM_THREADS=${SLURM_CPUS_PER_TASK:-1}"],
        nanny=False,
        worker_extra_args=["--no-dashboard", "--memory-limit", "0"],
        scheduler_options={"host": host, "dashboard_address": "127.0.0.1:0"},
    ) as cluster,
):
    print(cluster.scheduler_address, flush=True)
    while True:
        cluster.scale(jobs=int(jobs))
        time.sleep(1)
