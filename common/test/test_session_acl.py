# SPDX-License-Identifier: Apache-2.0
"""An .om on a simulated Ascend device."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path

from common.cli import UserError
from common.runtime.session import Options, Port, Session, open_network
from common.test.fake_acl import FLOAT16, SIZE, UINT8, FakeAcl

import numpy as np
import pytest
import torch

Opened = Callable[..., Session]


def images(batch: int) -> np.ndarray:
    return np.random.default_rng(batch).random((batch, *SIZE), np.float32)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Opened:
    """Opens an .om on a simulated device."""
    (tmp_path / "pose.om").write_bytes(b"an .om")

    def open_om(acl: FakeAcl | None, name: str = "pose.om", **options) -> Session:
        monkeypatch.setitem(sys.modules, "acl", acl)
        return open_network(tmp_path / name, Options(**options), load=lambda path: torch.nn.Identity())

    return open_om


def check(session: Session, batch: int) -> None:
    doubled, sums = session(images(batch))
    assert doubled.dtype == sums.dtype == np.float32
    np.testing.assert_array_equal(doubled, 2 * images(batch))
    np.testing.assert_allclose(sums, images(batch).sum(1, keepdims=True), rtol=1e-3)


def test_a_fixed_network_runs_again_and_again_in_the_same_memory(opened: Opened) -> None:
    acl = FakeAcl()
    session = opened(acl, device_id=3)
    assert session.fixed_batch == 2 and session.inputs == (Port("data", (2, *SIZE)),)
    assert [port.name for port in session.outputs] == ["doubled", "sums"]
    assert session.runtime == "ACL, Ascend310P3, npu:3"
    first = session(images(2))[0]
    for _ in range(3):
        check(session, 2)
    np.testing.assert_array_equal(first, 2 * images(2))  # not a view of memory that later calls fill
    assert acl.calls["rt.malloc"] == 3 and ("device", 3) in acl.held
    with pytest.raises(UserError, match=r"pose\.om: input data is 2 x 3 x 4 x 6, got 1 x 3 x 4 x 6"):
        session(images(1))
    session.close()
    session.close()
    assert not acl.held


def test_a_network_of_several_batch_sizes(opened: Opened) -> None:
    acl = FakeAcl(batches=(1, 4, 2))
    session = opened(acl)
    assert session.fixed_batch is None and session.inputs[0].shape == (None, *SIZE)
    assert len(session.inputs) == 1 and session.outputs[1].shape == (None, 1, *SIZE[1:])
    for batch in (4, 1, 2, 3, 4):  # 3: the last batch of an evaluation, in one of 4
        check(session, batch)
    with pytest.raises(UserError, match="batches of 1, 4, 2, got 5"):
        session(images(5))
    session.close()
    assert not acl.held


def test_a_float16_input_and_a_view_that_is_not_contiguous(opened: Opened) -> None:
    session = opened(FakeAcl(input_type=FLOAT16))
    flipped = images(2)[:, :, :, ::-1]
    np.testing.assert_array_equal(session(flipped)[0], 2 * flipped.astype(np.float16).astype(np.float32))
    session.close()


def test_another_thread_may_call_and_close(opened: Opened) -> None:
    acl, failures = FakeAcl(), []
    session = opened(acl)

    def work() -> None:
        try:
            check(session, 2)
            session.close()
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not failures and not acl.held


def test_several_networks_begin_pyacl_once(opened: Opened) -> None:
    acl = FakeAcl()
    one, two = (opened(acl, device_id=number) for number in (0, 1))
    one.close()
    check(two, 2)
    two.close()
    assert acl.calls["init"] == 1 and acl.calls["finalize"] == 0 and not acl.held
    already = opened(FakeAcl(initialised=True))  # by torch_npu
    check(already, 2)
    already.close()


@pytest.mark.parametrize(
    "name",
    ["init", "rt.set_device", "rt.create_context", "rt.malloc", "rt.get_run_mode", "create_data_buffer"]
    + ["mdl.load_from_file", "mdl.create_desc", "mdl.get_desc", "mdl.create_dataset", "mdl.get_input_dims"]
    + ["mdl.get_output_dims", "mdl.add_dataset_buffer"],
)
def test_a_call_that_fails_while_opening_leaves_nothing_behind(opened: Opened, name: str) -> None:
    acl = FakeAcl()
    acl.broken[name] = 507899
    with pytest.raises(UserError, match=rf"pose\.om: acl\.{name} (failed with code 507899|gave nothing); \S") as found:
        opened(acl)
    assert "\n" not in str(found.value) and not acl.held


@pytest.mark.parametrize(
    "name", ["rt.set_context", "rt.memcpy", "mdl.execute", "mdl.set_dynamic_batch_size", "rt.free"]
)
def test_a_call_that_fails_while_running_or_closing_is_named(opened: Opened, name: str) -> None:
    acl = FakeAcl(batches=(2, 4))
    session = opened(acl)
    acl.broken[name] = 145000
    with pytest.raises(UserError, match=rf"acl\.{name} failed with code 145000"):
        session(images(2))
        session.close()
    acl.broken.clear()
    if acl.held:
        check(session, 2)
        session.close()
    assert not acl.held


@pytest.mark.parametrize(
    ("acl", "options", "message"),
    [
        (None, {}, "source set_env.sh of CANN"),
        (FakeAcl(input_type=UINT8), {}, "input data must be float32 or float16"),
        (FakeAcl(size=(3, -1, 6)), {}, "of a fixed size"),
        (FakeAcl(), {"dtype": torch.float16}, "leave --amp out"),
        (FakeAcl(), {"name": "none.om"}, "no such file"),
    ],
)
def test_what_cannot_run_says_the_cure(opened: Opened, acl: FakeAcl | None, options: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        opened(acl, **options)
    assert acl is None or not acl.held
