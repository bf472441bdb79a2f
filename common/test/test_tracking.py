# SPDX-License-Identifier: Apache-2.0
import json

from common.media.tracking import RATE_HZ, OneEuro, Tracker
from common.skeleton import CROWDPOSE, OPENPOSE

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def golden(shared):
    return json.loads((shared / "golden/lightweight_openpose/misc.json").read_text())


def people_of(frame) -> tuple[np.ndarray, np.ndarray]:
    """Points (M, 18, 3) and scores (M,) of a golden frame, where -1, -1 is a missing keypoint."""
    places = np.array([person[0] for person in frame["in"]], float).reshape(-1, 18, 2)
    present = (places != -1).any(-1, keepdims=True)
    return np.concatenate([places, present], -1), np.array([person[1] for person in frame["in"]])


def figure(x: float, y: float, size: float = 100.0, points: int = 18) -> np.ndarray:
    """(P, 3): a person whose points lie on an ellipse around x, y."""
    angle = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return np.stack([x + size / 3 * np.cos(angle), y + size * np.sin(angle), np.ones(points)], 1)


def test_one_euro_equals_the_original(golden):
    series = golden["one_euro"]
    filtered = OneEuro(series["mincutoff"], series["beta"], series["dcutoff"])
    assert series["freq"] == RATE_HZ
    assert [float(filtered(np.array(value))) for value in series["in"]] == pytest.approx(series["out"], abs=1e-9)


def test_improved_points_stay_within_a_pixel_of_the_original(golden):
    tracker, differences = Tracker(OPENPOSE), []
    for frame in golden["tracking_smooth"]:
        ids, points = tracker.update(*people_of(frame))
        assert ids.tolist() == frame["ids"]
        differences.append((points[:, :, :2] - np.array(frame["out"]))[points[:, :, 2] > 0])
    differences = np.abs(np.concatenate(differences))
    assert differences.mean() > 0.1 and differences.max() < 1.0


def test_ids_stay_with_people_who_walk_past_each_other_in_any_order():
    """Three people at different speeds, listed in another order and with other scores in each frame."""
    rng = np.random.default_rng(1)
    tracker = Tracker(OPENPOSE)
    known: dict[int, int] = {}
    for step in range(60):
        people = np.stack([figure(100 + 4 * step, 200), figure(340 - 4 * step, 290), figure(600, 200 + step)])
        order = rng.permutation(3)
        ids, _ = tracker.update(people[order], rng.uniform(5, 20, 3))
        for person, track in zip(order.tolist(), ids.tolist(), strict=True):
            assert known.setdefault(person, track) == track
    assert sorted(known.values()) == [0, 1, 2]


def test_fast_walker_keeps_the_id_although_smoothing_lags():
    """A tenth of its height in a frame; compared with its smoothed place it would be too far ahead."""
    tracker = Tracker(OPENPOSE)
    ids = [tracker.update(figure(7 * step, 200, 35)[None], np.ones(1), step / 25)[0][0] for step in range(20)]
    assert set(ids) == {0}


def test_nearer_of_two_equal_candidates_wins():
    """Two people so close that all keypoints fit both: the original takes the first in the list."""
    tracker = Tracker(OPENPOSE, smooth=False)
    first, _ = tracker.update(np.stack([figure(100, 100), figure(103, 100)]), np.array([2.0, 1.0]))
    second, _ = tracker.update(np.stack([figure(103.5, 100), figure(100.5, 100)]), np.array([2.0, 1.0]))
    assert first.tolist() == [0, 1] and second.tolist() == [1, 0]


def test_three_shared_keypoints_make_the_same_person_two_do_not():
    for shared_count, same in ((3, True), (2, False)):
        tracker = Tracker(OPENPOSE)
        tracker.update(figure(100, 100)[None], np.ones(1))
        person = figure(100, 100)
        person[shared_count:, 2] = 0
        ids, _ = tracker.update(person[None], np.ones(1))
        assert ids.tolist() == [0 if same else 1]


@pytest.mark.parametrize(("max_missed", "gap", "expected"), [(0, 1, 1), (2, 2, 0), (2, 3, 1)])
def test_lost_track_is_kept_for_max_missed_frames(max_missed, gap, expected):
    tracker = Tracker(OPENPOSE, max_missed=max_missed)
    tracker.update(figure(100, 100)[None], np.ones(1))
    for _ in range(gap):
        ids, points = tracker.update(np.zeros((0, 18, 3)), np.zeros(0))
        assert ids.shape == (0,) and points.shape == (0, 18, 3)
    ids, _ = tracker.update(figure(100, 100)[None], np.ones(1))
    assert ids.tolist() == [expected]


def test_keypoint_that_comes_back_starts_afresh():
    tracker = Tracker(OPENPOSE)
    absent = figure(100, 100)
    absent[0, 2] = 0
    tracker.update(figure(100, 100)[None], np.ones(1))
    _, points = tracker.update(absent[None], np.ones(1))
    assert points[0, 0].tolist() == [0, 0, 0]
    back = figure(103, 100)
    _, points = tracker.update(back[None], np.ones(1))
    assert points[0, 0].tolist() == back[0].tolist()  # no pull towards its old place
    assert (points[0, 1:, 0] < back[1:, 0]).all()  # the others lag behind


def test_smoothing_calms_a_still_person_and_follows_a_running_one():
    rng = np.random.default_rng(0)
    still, running = Tracker(OPENPOSE), Tracker(OPENPOSE)
    jitter_in, jitter_out = [], []
    for step in range(100):
        noise = np.concatenate([rng.normal(0, 2, (18, 2)), np.zeros((18, 1))], 1)
        _, calm = still.update((figure(100, 100) + noise)[None], np.ones(1), step / 30)
        jitter_in.append(noise[:, 0])
        jitter_out.append(calm[0, :, 0] - figure(100, 100)[:, 0])
        _, moved = running.update(figure(10 * step, 100)[None], np.ones(1), step / 30)
    assert np.std(jitter_out[20:]) < 0.5 * np.std(jitter_in[20:])
    assert 0 < 10 * 99 - moved[0, :, 0].mean() + figure(0, 0)[:, 0].mean() < 10 * 1.5  # lags at most 1.5 frames


def test_filter_takes_the_rate_from_time_stamps():
    """The same movement seen 10 and 40 times a second is smoothed alike; without time stamps it would not be."""

    def lag(rate_hz: int) -> float:
        tracker = Tracker(OPENPOSE)
        for step in range(4 * rate_hz + 1):
            _, points = tracker.update(figure(20 * step / rate_hz, 100)[None], np.ones(1), step / rate_hz)
        return 80 - float(points[0, :, 0].mean())

    assert lag(40) == pytest.approx(lag(10), rel=0.35)


def test_no_smoothing_leaves_points_alone():
    tracker = Tracker(CROWDPOSE, smooth=False)
    for step in range(3):
        person = figure(100 + step, 100, points=14)[None]
        np.testing.assert_array_equal(tracker.update(person, np.ones(1))[1], person)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e4, 1e4) | st.just(float("nan")), min_size=1, max_size=30), st.floats(1e-3, 1.0))
def test_filter_stays_between_the_values_it_has_seen(values, step_s):
    filtered, since = OneEuro(), []
    for value in values:
        since = [] if np.isnan(value) else [*since, value]
        answer = float(filtered(np.array(value), step_s))
        assert np.isnan(answer) if not since else min(since) - 1e-6 <= answer <= max(since) + 1e-6
