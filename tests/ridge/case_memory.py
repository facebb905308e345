"""The memory that torch takes during a call."""

import numpy as np
from torch.profiler import ProfilerActivity, profile


def peak(work):
    """The most bytes that torch holds at a time during a call, beyond those held before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as trace:
        work()
    events = trace.profiler.kineto_results.events()
    changes = sorted((e.start_ns(), e.nbytes()) for e in events if e.name() == "[memory]")
    return np.cumsum([change for _, change in changes]).max()
