"""Dask workers as jobs of Slurm by submitit; without Slurm, as processes of this machine.

    pip install submitit
    dask scheduler --host HOST &
    python pipelines/slurm/submitit_workers.py tcp://HOST:8786 JOBS [PARAMETER=VALUE ...]
    rmtgen run CONFIG cluster=tcp://HOST:8786

A job is one worker, which takes units until its job or the scheduler ends. PARAMETER is one of
submitit's, as in `timeout_min=480 gpus_per_node=1 slurm_partition=NAME`.
"""

import os
import subprocess
import sys

import submitit


class Worker(submitit.helpers.Checkpointable):
    """A job that is put into the queue again when it was preempted or has used up its time."""

    def __call__(self, scheduler):
        """Take units until the scheduler is gone."""
        cores = os.environ.get("SLURM_CPUS_PER_TASK", "1")
        command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
        command += ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--no-nanny"]
        subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": cores})


scheduler, jobs, *words = sys.argv[1:]
executor = submitit.AutoExecutor(folder="submitit-logs")
parameters = dict(word.split("=", 1) for word in words)
executor.update_parameters(
    **{name: int(value) if value.isdigit() else value for name, value in parameters.items()}
)
print(*(executor.submit(Worker(), scheduler).job_id for _ in range(int(jobs))))
