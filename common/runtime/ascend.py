# SPDX-License-Identifier: Apache-2.0
"""Networks in Ascend's format (`.om`), run through pyACL, CANN's Python interface.

Written from CANN's documentation of pyACL. Host memory is given as the address of a NumPy array: `numpy_to_ptr` is
about to be withdrawn, and `bytes_to_ptr` costs a copy.
"""

import atexit
import contextlib
import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from common.arrays import Float32Array
from common.cli import UserError
from common.runtime.session import Options, Port, Session

import numpy as np

SUCCESS, ALREADY_INITIALISED = 0, 100002
MALLOC_HUGE_FIRST = 0
HOST_TO_DEVICE, DEVICE_TO_HOST, DEVICE_TO_DEVICE = 1, 2, 3
RUNS_ON_DEVICE = 0  # a developer kit, where the program runs on the chip itself
TYPES: dict[int, Any] = {0: np.float32, 1: np.float16}  # by aclDataType
BATCH_INPUT = "ascend_mbatch_shape_data"  # that ATC adds to a network with --dynamic_batch_size
CURES = {
    "rt.set_device": "`npu-smi info` lists the devices, --device_id takes one",
    "mdl.load_from_file": "convert the network again for this chip with this CANN: convert_om.sh",
    "rt.malloc": "the device's memory is full: a smaller batch, or end other programs",
}


def open_om(source: Path, options: Options) -> Session:
    """A session of an Ascend device. Its memory there is allocated once, and freed by the session's `close`.

    Raises UserError where CANN or the device is missing, the file is not for this chip, or a call of pyACL fails.
    """
    if options.dtype is not None:
        raise UserError(f"{source}: an .om computes in the precision it was converted to; leave --amp out")
    try:
        import acl
    except ImportError as error:
        cure = "source set_env.sh of CANN first (/usr/local/Ascend/ascend-toolkit/set_env.sh)"
        raise UserError(f"{source} needs an Ascend device and its Python package acl ({error}): {cure}") from error
    with contextlib.ExitStack() as undo:  # all allocations, in case a step fails
        network = _Network(_Acl(acl, source), options.device_id, undo)
        inputs, outputs = (tuple(map(network.port, tensors)) for tensors in (network.inputs, network.outputs))
        session = Session(str(source), network.runtime, network.forward, inputs, outputs, undo.pop_all().close)
    atexit.register(session.close)  # before finalize; a second call does nothing
    return session


@dataclass(frozen=True)
class _Acl:
    """pyACL with every return code checked: `acl("rt.malloc", size, policy)`."""

    module: Any
    source: Path

    def plain(self, name: str, *arguments: Any) -> Any:
        """The result of a call without return code."""
        return operator.attrgetter(name)(self.module)(*arguments)

    def created(self, name: str, *arguments: Any) -> Any:
        """The address from a call without return code; 0 if it failed."""
        return self.plain(name, *arguments) or self.fail(name, "gave nothing")

    def __call__(self, name: str, *arguments: Any) -> Any:
        """The result of a call without its return code. Raises UserError, naming call and code, if it failed."""
        found = self.plain(name, *arguments)
        *values, code = found if isinstance(found, tuple) else (found,)
        if code != SUCCESS:
            self.fail(name, f"failed with code {code}")
        return values[0] if values else None

    def fail(self, name: str, what: str) -> NoReturn:
        """Raises the UserError for a call."""
        cure = CURES.get(name, "CANN's table of aclError explains the code")
        raise UserError(f"{self.source}: acl.{name} {what}; {cure}")


@dataclass(frozen=True)
class _Tensor:
    """An input or output of a network, and its memory on the device."""

    name: str
    shape: tuple[int, ...]  # -1: as many as are asked for
    dtype: Any
    address: int
    size: int  # bytes, for the largest batch


class _Network:
    """An .om on a device, with memory for its inputs and outputs."""

    def __init__(self, acl: _Acl, device_id: int, undo: contextlib.ExitStack) -> None:
        """`undo` receives the calls that free everything."""
        self._acl, self._undo = acl, undo
        if (code := _initialise(acl.module)) not in (SUCCESS, ALREADY_INITIALISED):
            acl.fail("init", f"failed with code {code}")
        acl("rt.set_device", device_id)
        self._hold(device_id, "rt.reset_device")
        self._context = self._hold(acl("rt.create_context", device_id), "rt.destroy_context")
        self._model = self._hold(acl("mdl.load_from_file", str(acl.source)), "mdl.unload")
        self._description = self._hold(acl.created("mdl.create_desc"), "mdl.destroy_desc")
        acl("mdl.get_desc", self._description, self._model)
        self._datasets = {}
        for kind in ("input", "output"):
            self._datasets[kind] = self._hold(acl.created("mdl.create_dataset"), "mdl.destroy_dataset")
        inputs, self.outputs = (
            [self._tensor(kind, n) for n in range(acl.plain(f"mdl.get_num_{kind}s", self._description))]
            for kind in self._datasets
        )
        self.inputs = [tensor for tensor in inputs if tensor.name != BATCH_INPUT]
        self._batches: list[int] = []  # that the file was converted for, if there are several
        if any(tensor.shape[0] == -1 for tensor in self.inputs):
            self._batches = list(acl("mdl.get_dynamic_batch", self._description)["batch"])
        on_device = acl("rt.get_run_mode") == RUNS_ON_DEVICE
        self._to, self._back = (DEVICE_TO_DEVICE,) * 2 if on_device else (HOST_TO_DEVICE, DEVICE_TO_HOST)
        self.runtime = f"ACL, {acl.plain('get_soc_name')}, npu:{device_id}"
        self._hold(self._context, "rt.set_context")  # first of all: another thread may close

    def _hold(self, handle: Any, give_back: str) -> Any:
        """The handle, to be freed by the call `give_back`."""
        self._undo.callback(self._acl, give_back, handle)
        return handle

    def _tensor(self, kind: str, index: int) -> _Tensor:
        acl, place = self._acl, (self._description, index)
        dims = acl(f"mdl.get_{kind}_dims", *place)
        name, dtype = dims["name"], TYPES.get(acl.plain(f"mdl.get_{kind}_data_type", *place))
        if name != BATCH_INPUT and (dtype is None or -1 in dims["dims"][1:]):
            needed = f"{kind} {name} must be float32 or float16, of a fixed size but for the batch"
            raise UserError(f"{acl.source}: {needed}; convert it as convert_om.sh does")
        size = acl.plain(f"mdl.get_{kind}_size_by_index", *place)
        address = self._hold(acl("rt.malloc", size, MALLOC_HUGE_FIRST), "rt.free")
        buffer = self._hold(acl.created("create_data_buffer", address, size), "destroy_data_buffer")
        acl("mdl.add_dataset_buffer", self._datasets[kind], buffer)
        return _Tensor(name, tuple(dims["dims"]), dtype, address, size)

    def port(self, tensor: _Tensor) -> Port:
        """As in a Session. ATC names an output `node:number:name in the ONNX file`."""
        batch = None if self._batches else tensor.shape[0]
        return Port(tensor.name.split(":", 2)[-1], (batch, *tensor.shape[1:]))

    def forward(self, arrays: Sequence[Float32Array]) -> list[Float32Array]:
        """See `Session`."""
        acl, count = self._acl, len(arrays[0])
        acl("rt.set_context", self._context)  # of this thread
        if self._batches:
            missing = self._set_batch(count) - count
            arrays = [np.concatenate([array, *[array[-1:]] * missing]) for array in arrays]
        for tensor, array in zip(self.inputs, arrays, strict=True):
            content = np.ascontiguousarray(array, tensor.dtype)
            acl("rt.memcpy", tensor.address, tensor.size, content.ctypes.data, content.nbytes, self._to)
        acl("mdl.execute", self._model, *self._datasets.values())
        outputs = []
        for index, tensor in enumerate(self.outputs):
            content = np.empty(acl("mdl.get_cur_output_dims", self._description, index)["dims"], tensor.dtype)
            acl("rt.memcpy", content.ctypes.data, content.nbytes, tensor.address, content.nbytes, self._back)
            outputs.append(content[:count].astype(np.float32, copy=False))
        return outputs

    def _set_batch(self, count: int) -> int:
        """Sets and returns the smallest batch for `count` items."""
        batch = min((size for size in self._batches if size >= count), default=0)
        if not batch:
            sizes = ", ".join(map(str, self._batches))
            raise UserError(f"{self._acl.source}: converted for batches of {sizes}, got {count}; choose --batch_size")
        index = self._acl("mdl.get_input_index_by_name", self._description, BATCH_INPUT)
        self._acl("mdl.set_dynamic_batch_size", self._model, self._datasets["input"], index, batch)
        return batch


@functools.cache
def _initialise(module: Any) -> int:
    """The code of acl.init. A process calls it once, and finalises at its end: it cannot be initialised again."""
    code: int = module.init()
    if code == SUCCESS:  # not where torch_npu has done it
        atexit.register(module.finalize)
    return code
