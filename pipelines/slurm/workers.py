"""Dask workers as jobs of Slurm, by dask-jobqueue: print the address of their scheduler, and wait.

    pip install dask-jobqueue
    python pipelines/slurm/workers.py JOBS [OPTION-OF-SBATCH ...]
    rmtgen run CONFIG cluster=ADDRESS

Each job is one worker with one thread for tasks; torch has the job's cores or its GPU.
"""

import os
import signal
import sys

import dask
from dask_jobqueue import SLURMCluster

from rmtgen.stages.cluster import SETTINGS

jobs, *options = sys.argv[1:]
cores = int(os.environ.get("CORES", "1"))
dask.config.set(SETTINGS)
with SLURMCluster(
    cores=1,
    processes=1,
    job_cpu=cores,
    memory=os.environ.get("MEMORY", "4GiB"),
    interface=os.environ.get("INTERFACE"),
    job_extra_directives=options,
    job_script_prologue=[f"export OMP_NUM_THREADS={cores}"],
    nanny=False,
    worker_extra_args=["--no-dashboard", "--memory-limit", "0"],
    scheduler_options={"dashboard_address": "127.0.0.1:0"},
) as cluster:
    cluster.scale(jobs=int(jobs))
    print(cluster.scheduler_address, flush=True)
    signal.pause()
