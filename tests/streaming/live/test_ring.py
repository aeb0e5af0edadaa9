"""The ring against a list, and between two threads."""

import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audio_enh.streaming.live.ring import Ring


@given(st.integers(1, 20), st.lists(st.tuples(st.sampled_from("wrs"), st.integers(0, 30)), max_size=40))
def test_it_is_a_queue_that_drops_what_it_has_no_room_for(capacity, steps):
    ring, queue, number = Ring(2, capacity), [], 0
    for what, count in steps:
        if what == "w":
            frames = np.repeat(np.arange(number, number + count, dtype=np.float32)[:, None], 2, axis=1)
            number += count
            room = min(count, capacity - len(queue))
            assert ring.write(frames) == room
            queue += frames[:room, 0].tolist()
        elif what == "r":
            out = np.full((count, 2), -1, np.float32)
            taken = ring.read_into(out)
            assert taken == min(count, len(queue))
            assert out[:taken, 1].tolist() == queue[:taken]
            assert (out[taken:] == -1).all()
            del queue[:taken]
        else:
            assert ring.skip(count) == min(count, len(queue))
            del queue[:count]
        assert ring.fill == len(queue)


@pytest.fixture
def busy_switching():
    """Threads change places after every few steps of the interpreter, wherever they are."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("busy_switching")
def test_two_threads_lose_and_double_nothing():
    ring, total = Ring(1, 64), 50_000
    read = []

    def reader():
        out = np.empty((17, 1), np.float32)
        got = 0
        while got < total and not stopped.is_set():
            count = ring.read_into(out)
            if count:
                read.append(out[:count, 0].copy())
                got += count
            else:
                time.sleep(0)

    stopped = threading.Event()
    thread = threading.Thread(target=reader)
    thread.start()
    frames = np.arange(total, dtype=np.float32)[:, None]
    at = 0
    while at < total and thread.is_alive():
        count = ring.write(frames[at : at + 23])
        at += count
        if not count:
            time.sleep(0)
    thread.join(20)
    stopped.set()
    np.testing.assert_array_equal(np.concatenate(read), frames[:, 0])


@pytest.mark.parametrize("arguments", [(0, 1), (1, 0)])
def test_sizes_are_checked(arguments):
    with pytest.raises(ValueError, match="positive"):
        Ring(*arguments)
