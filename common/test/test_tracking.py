# SPDX-License-Identifier: Apache-2.0
import json

from common.media.tracking import OneEuro, Tracker
from common.people import People
from common.skeleton import OPENPOSE

import numpy as np
import pytest


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


def update(tracker: Tracker, points: np.ndarray, scores: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Ids and points of the people of the next frame."""
    people = tracker.update(People(OPENPOSE, points, scores), time_s)
    return np.array(people.ids), people.keypoints


def test_one_euro_equals_the_original(golden):
    series = golden["one_euro"]
    filtered = OneEuro(series["mincutoff"], series["beta"], series["dcutoff"])
    steady = [float(filtered(np.array(value), 1 / series["freq"])) for value in series["in"]]
    assert steady == pytest.approx(series["out"], abs=1e-9)


def test_improved_points_stay_within_a_pixel_of_the_original(golden):
    tracker, differences = Tracker(OPENPOSE), []
    for step, frame in enumerate(golden["tracking_smooth"]):
        ids, points = update(tracker, *people_of(frame), step / 15)
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
        ids, _ = update(tracker, people[order], rng.uniform(5, 20, 3), step / 15)
        for person, track in zip(order.tolist(), ids.tolist(), strict=True):
            assert known.setdefault(person, track) == track
    assert sorted(known.values()) == [0, 1, 2]


def test_fast_walker_keeps_the_id_although_smoothing_lags():
    """A tenth of its height in a frame; compared with its smoothed place it would be too far ahead."""
    tracker = Tracker(OPENPOSE)
    ids = [update(tracker, figure(7 * step, 200, 35)[None], np.ones(1), step / 25)[0][0] for step in range(20)]
    assert set(ids) == {0}


def follow(tracker: Tracker, *frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ids and points of the last of some frames of people, (M, 18, 3), 15 a second."""
    answers = [update(tracker, people, -np.arange(len(people)), step / 15) for step, people in enumerate(frames)]
    return answers[-1]


def test_nearer_of_two_equal_candidates_wins():
    """Two people so close that all keypoints fit both: the original takes the first in the list."""
    first, second = np.stack([figure(100, 100), figure(103, 100)]), np.stack([figure(103.5, 100), figure(100.5, 100)])
    assert follow(Tracker(OPENPOSE, smooth=False), first, second)[0].tolist() == [1, 0]


def test_three_shared_keypoints_make_the_same_person_two_do_not():
    for shared_count, same in ((3, True), (2, False)):
        person = figure(100, 100)
        person[shared_count:, 2] = 0
        ids, _ = follow(Tracker(OPENPOSE), figure(100, 100)[None], person[None])
        assert ids.tolist() == [0 if same else 1]


@pytest.mark.parametrize(("max_missed", "gap", "expected"), [(0, 1, 1), (2, 2, 0), (2, 3, 1)])
def test_lost_track_is_kept_for_max_missed_frames(max_missed, gap, expected):
    person, nobody = figure(100, 100)[None], np.zeros((0, 18, 3))
    ids, _ = follow(Tracker(OPENPOSE, max_missed=max_missed), person, *[nobody] * gap, person)
    assert ids.tolist() == [expected]


def test_keypoint_that_comes_back_starts_afresh():
    absent, back = figure(100, 100)[None], figure(103, 100)[None]
    absent[0, 0, 2] = 0
    _, points = follow(Tracker(OPENPOSE), figure(100, 100)[None], absent)
    assert points[0, 0].tolist() == absent[0, 0].tolist()
    _, points = follow(Tracker(OPENPOSE), figure(100, 100)[None], absent, back)
    assert points[0, 0].tolist() == back[0, 0].tolist()  # no pull towards its old place
    assert (points[0, 1:, 0] < back[0, 1:, 0]).all()  # the others lag behind


def test_smoothing_calms_a_still_person_and_follows_a_running_one():
    rng = np.random.default_rng(0)
    still, running = Tracker(OPENPOSE), Tracker(OPENPOSE)
    jitter_in, jitter_out = [], []
    for step in range(100):
        noise = np.concatenate([rng.normal(0, 2, (18, 2)), np.zeros((18, 1))], 1)
        _, calm = update(still, (figure(100, 100) + noise)[None], np.ones(1), step / 30)
        jitter_in.append(noise[:, 0])
        jitter_out.append(calm[0, :, 0] - figure(100, 100)[:, 0])
        _, moved = update(running, figure(10 * step, 100)[None], np.ones(1), step / 30)
    assert np.std(jitter_out[20:]) < 0.5 * np.std(jitter_in[20:])
    assert 0 < 10 * 99 - moved[0, :, 0].mean() + figure(0, 0)[:, 0].mean() < 10 * 1.5  # lags at most 1.5 frames


def test_filter_takes_the_rate_from_time_stamps():
    """The same movement seen 10 and 40 times a second is smoothed alike; without time stamps it would not be."""

    def lag(rate_hz: int) -> float:
        tracker = Tracker(OPENPOSE)
        for step in range(4 * rate_hz + 1):
            _, points = update(tracker, figure(20 * step / rate_hz, 100)[None], np.ones(1), step / rate_hz)
        return 80 - float(points[0, :, 0].mean())

    assert lag(40) == pytest.approx(lag(10), rel=0.35)
