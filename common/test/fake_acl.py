# SPDX-License-Identifier: Apache-2.0
"""A simulated Ascend device behind pyACL's documented calls: over real memory, with a count of what is held."""

import ctypes
import threading
import types
from collections import Counter

import numpy as np

SIZE = (3, 4, 6)  # channels, height, width of the input
TYPES = {0: np.float32, 1: np.float16, 4: np.uint8}
FLOAT32, FLOAT16, UINT8 = TYPES
BATCH_INPUT = "ascend_mbatch_shape_data"
HUGE = 64  # bytes by which the device rounds sizes up
# calls that give a new handle and a code, or a new handle alone, and those that take it back: the kind of handle
CREATE = {"rt.create_context": "context", "mdl.load_from_file": "model"}
PLAIN = {"mdl.create_desc": "description", "mdl.create_dataset": "dataset", "create_data_buffer": "buffer"}
GIVE = {
    "rt.reset_device": "device",
    "rt.destroy_context": "context",
    "rt.free": "memory",
    "mdl.unload": "model",
    "mdl.destroy_desc": "description",
    "mdl.destroy_dataset": "dataset",
    "destroy_data_buffer": "buffer",
}


class FakeAcl(types.ModuleType):
    """The network gives the input doubled, float32, and its channels' sums, float16. `broken`: a call -> its code."""

    def __init__(self, batches=(2,), input_type=FLOAT32, size=SIZE, initialised=False):
        super().__init__("acl")
        self.batches, self.input_type, self.size, self.initialised = batches, input_type, size, initialised
        self.broken: dict[str, int] = {}
        self.calls, self.held, self.threads = Counter(), {}, {}
        self.dynamic = len(batches) > 1
        self.batch = max(batches)
        self.rt, self.mdl = types.SimpleNamespace(), types.SimpleNamespace()
        calls = {name: self._creating(name, kind) for name, kind in (CREATE | PLAIN).items()}
        calls |= {name: self._giving(name, kind) for name, kind in GIVE.items()}
        for name, call in (calls | self._others()).items():
            place, _, word = name.rpartition(".")
            setattr(getattr(self, place) if place else self, word, call)

    def _others(self):
        return {
            "init": lambda: 100002 if self.initialised else self._code("init"),
            "finalize": lambda: self._code("finalize"),
            "get_soc_name": lambda: "Ascend310P3",
            "rt.set_device": self._set_device,
            "rt.set_context": self._set_context,
            "rt.malloc": self._malloc,
            "rt.memcpy": self._memcpy,
            "rt.get_run_mode": lambda: (1, self._code("rt.get_run_mode")),
            "mdl.get_desc": lambda *_: self._code("mdl.get_desc"),
            "mdl.get_num_inputs": lambda _: 1 + self.dynamic,
            "mdl.get_num_outputs": lambda _: 2,
            "mdl.get_input_dims": self._input_dims,
            "mdl.get_output_dims": self._output_dims,
            "mdl.get_cur_output_dims": self._output_dims,
            "mdl.get_input_data_type": lambda _, index: 3 if index else self.input_type,
            "mdl.get_output_data_type": lambda _, index: FLOAT16 if index else FLOAT32,
            "mdl.get_input_size_by_index": lambda _, index: HUGE if index else self._bytes(0),
            "mdl.get_output_size_by_index": lambda _, index: self._bytes(index),
            "mdl.add_dataset_buffer": self._add_buffer,
            "mdl.execute": self._execute,
            "mdl.get_dynamic_batch": lambda _: ({"batchCount": len(self.batches), "batch": list(self.batches)}, 0),
            "mdl.get_input_index_by_name": lambda _, name: (1, 0 if name == BATCH_INPUT else 100000),
            "mdl.set_dynamic_batch_size": self._set_batch,
        }

    def _code(self, name):
        self.calls[name] += 1
        return self.broken.get(name, 0)

    def _creating(self, name, kind):
        def create(*content):
            code, handle = self._code(name), 1000 + sum(self.calls.values())
            if not code:
                self.held[handle] = (kind, *content)
            answer = (0 if code else handle), code
            return answer[0] if name in PLAIN else answer

        return create

    def _giving(self, name, kind):
        def give(handle):
            key = (kind, handle) if kind == "device" else handle
            assert self.held[key][0] == kind, f"{name} of a {self.held[key][0]}"
            if kind not in ("device", "context"):
                self._check_context()
            del self.held[key]
            return self._code(name)

        return give

    def _set_device(self, number):
        code = self._code("rt.set_device")
        if not code:
            self.held["device", number] = ("device",)
        return code

    def _check_context(self):
        context = self.threads.get(threading.get_ident())
        assert context in self.held or self.calls["rt.set_context"] == 0, "a thread without context"

    def _set_context(self, context):
        assert self.held[context][0] == "context"
        self.threads[threading.get_ident()] = context
        return self._code("rt.set_context")

    def _malloc(self, size, policy):
        code, memory = self._code("rt.malloc"), np.full(size, 0xAB, np.uint8)
        if code:
            return 0, code
        self.held[memory.ctypes.data] = ("memory", memory)
        return memory.ctypes.data, 0

    def _memcpy(self, target, room, source, count, kind):
        self._check_context()
        device, host = (target, source) if kind == 1 else (source, target)
        assert kind in (1, 2) and self.held[device][0] == "memory" and host not in self.held
        assert count <= room and count <= self.held[device][1].nbytes
        ctypes.memmove(target, source, count)
        return self._code("rt.memcpy")

    def _shape(self, index, batch):
        return (batch, 1, *self.size[1:]) if index else (batch, *self.size)

    def _bytes(self, index):
        """Of the largest batch, rounded up."""
        single = TYPES[FLOAT16] if index else np.float32
        exact = int(np.prod(self._shape(index, max(self.batches)))) * np.dtype(single).itemsize
        return -(-exact // HUGE) * HUGE

    def _input_dims(self, _, index):
        if index:
            return {"name": BATCH_INPUT, "dimCount": 1, "dims": [1]}, 0
        dims = self._shape(0, -1 if self.dynamic else self.batch)
        return {"name": "data", "dimCount": 4, "dims": list(dims)}, self._code("mdl.get_input_dims")

    def _output_dims(self, _, index):
        names = ("Mul_3:0:doubled", "Sum_4:0:sums")
        dims = {"name": names[index], "dimCount": 4, "dims": list(self._shape(index, self.batch))}
        return dims, self._code("mdl.get_output_dims")

    def _add_buffer(self, dataset, buffer):
        _, address, size = self.held[buffer]
        memory = self.held[address][1]
        assert memory.nbytes >= size
        self.held[dataset] += (memory,)
        return dataset, self._code("mdl.add_dataset_buffer")

    def _set_batch(self, model, dataset, index, batch):
        assert index == 1 and batch in self.batches
        self.batch = batch
        return self._code("mdl.set_dynamic_batch_size")

    def _view(self, dataset, place, index, single):
        memory, shape = self.held[dataset][1 + place], self._shape(index, self.batch)
        return memory.view(single)[: int(np.prod(shape))].reshape(shape)

    def _execute(self, model, inputs, outputs):
        assert self.held[model][0] == "model"
        self._check_context()
        images = self._view(inputs, 0, 0, TYPES[self.input_type])
        self._view(outputs, 0, 0, np.float32)[:] = 2 * images.astype(np.float32)
        self._view(outputs, 1, 1, np.float16)[:] = images.sum(1, keepdims=True)
        return self._code("mdl.execute")
