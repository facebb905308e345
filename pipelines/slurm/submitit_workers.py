"""Dask workers as jobs of Slurm, or of this machine, by submitit.

    pip install submitit
    dask scheduler --host HOST &
    python pipelines/slurm/submitit_workers.py JOBS tcp://HOST:8786 [slurm | local]
    rmtgen run CONFIG cluster=tcp://HOST:8786

One job is one worker, which takes units until it is cancelled: submitit divides no array beyond the
limit of a site.
"""

import subprocess
import sys

import submitit

jobs, scheduler, kind = [*sys.argv[1:], "slurm"][:3]
worker = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler]
worker += ["--nthreads", "1", "--memory-limit", "0", "--no-dashboard", "--no-nanny"]
executor = submitit.AutoExecutor(folder="submitit-logs", cluster=kind)
executor.update_parameters(timeout_min=24 * 60, cpus_per_task=1)
print(*(executor.submit(subprocess.run, worker, check=True).job_id for _ in range(int(jobs))))
