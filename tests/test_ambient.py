"""Public functions give the same bits whatever their caller has set, and leave it as it was."""

import contextlib
import inspect

import numpy as np
import public_calls
import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import rmtgen
from rmtgen.ambient import untouched
from rmtgen.errors import RmtgenError


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    return public_calls.calls(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def plain(calls):
    return {name: public_calls.bits(call()) for name, call in calls.items()}


@contextlib.contextmanager
def setting(write, value, before):
    write(value)
    try:
        yield
    finally:
        write(before)


def deterministic(warn_only):
    return setting(
        lambda on: torch.use_deterministic_algorithms(on, warn_only=on and warn_only), True, False
    )


class Halves(TorchFunctionMode):
    """A mode that spoils products."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return spoiled(func(*args, **(kwargs or {})), getattr(func, "__name__", ""))


class Half(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return spoiled(func(*args, **(kwargs or {})), str(func))


def spoiled(found, name):
    return found.to(torch.float16).to(found.dtype) if "mul" in name or "mm" in name else found


STATES = {
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "autocast float16": lambda: torch.autocast("cpu", dtype=torch.float16),
    "inference_mode": torch.inference_mode,
    "no_grad": torch.no_grad,
    "default float64": lambda: setting(torch.set_default_dtype, torch.float64, torch.float32),
    "default float16": lambda: setting(torch.set_default_dtype, torch.float16, torch.float32),
    "default device": lambda: setting(torch.set_default_device, "meta", None),
    "with device": lambda: torch.device("meta"),
    "matmul precision": lambda: setting(torch.set_float32_matmul_precision, "medium", "highest"),
    "deterministic": lambda: deterministic(False),
    "deterministic, warnings": lambda: deterministic(True),
    "anomalies": lambda: setting(torch.autograd.set_detect_anomaly, True, False),
    "NumPy raises": lambda: np.errstate(all="raise"),
    "attention": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    "function mode": Halves,
    "dispatch mode": Half,
    "autocast in inference": lambda: nested(
        torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16), torch.device("meta")
    ),
}


@contextlib.contextmanager
def nested(*contexts):
    with contextlib.ExitStack() as stack:
        for context in contexts:
            stack.enter_context(context)
        yield


def state():
    backends = torch.backends
    owners = [backends, backends.cuda.matmul, backends.cudnn]
    if hasattr(backends.mkldnn, "matmul"):
        owners += [backends.mkldnn.matmul, backends.mkldnn.conv, backends.cudnn.conv]
    return (
        [torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")],
        [torch.get_autocast_dtype(kind) for kind in ("cpu", "cuda")],
        torch.is_inference_mode_enabled(),
        torch.is_grad_enabled(),
        torch.get_default_dtype(),
        torch.get_default_device(),
        torch._C._len_torch_function_stack(),
        torch._C._len_torch_dispatch_stack(),
        torch.get_float32_matmul_precision(),
        [getattr(owner, "fp32_precision", None) for owner in owners],
        torch.get_deterministic_debug_mode(),
        torch.is_anomaly_enabled(),
        torch.is_anomaly_check_nan_enabled(),
        backends.cuda.flash_sdp_enabled(),
        torch.get_num_threads(),
        np.geterr(),
        torch.default_generator.get_state().numpy().tobytes(),
        str(np.random.get_state()),
    )


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("name", STATES)
def test_every_public_function_gives_the_same_bits(name, calls, plain):
    with STATES[name]():
        before = state()
        found = {function: call() for function, call in calls.items()}
        with pytest.raises(RmtgenError):
            rmtgen.ridge_path("no matrix", [1.0], ridges=[1.0])
        assert state() == before
    different = [name for name in calls if public_calls.bits(found[name]) != plain[name]]
    assert different == []


def test_arguments_made_in_inference_mode_are_taken(calls, plain):
    with torch.inference_mode():
        made = {
            name: {
                key: torch.tensor(value)
                if isinstance(value, np.ndarray) and key != "image_shape"
                else value.clone()
                if isinstance(value, torch.Tensor)
                else value
                for key, value in call.arguments.items()
            }
            for name, call in calls.items()
        }
    different = [
        name
        for name, call in calls.items()
        if public_calls.bits(call.function(**made[name])) != plain[name]
    ]
    assert different == []


def test_signatures_and_pickles_are_those_of_the_functions():
    import pickle

    assert list(inspect.signature(rmtgen.ridge_path).parameters)[:2] == ["gram", "targets"]
    assert pickle.loads(pickle.dumps(rmtgen.ridge_path)) is rmtgen.ridge_path
    assert rmtgen.ridge_path.__doc__.startswith("Kernel ridge regression at every size")


def test_a_caller_without_settings_pays_for_none():
    with untouched():
        before = state()
    assert state() == before


def test_a_stack_of_modes_comes_back_in_its_order():
    with torch.device("meta"), Halves(), torch.device("cpu"):
        with untouched():
            assert torch._C._len_torch_function_stack() == 0
            assert torch.ones(1).device.type == "cpu"
        assert torch.zeros(1).device.type == "cpu"
        assert torch._C._len_torch_function_stack() == 3
    assert torch.zeros(1).device.type == "cpu"
