"""How much memory a device has left."""

import psutil
import torch


def available(device: torch.device) -> int:
    """Bytes that can be taken on a device without swapping or failing."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return psutil.virtual_memory().available
