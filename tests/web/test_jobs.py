"""The queue: turns, cancelling, and processes that come to grief."""

import os
import time

import pytest

from audio_enh.errors import UserError
from audio_enh.web.jobs import Job, JobQueue
from audio_enh.web.limits import Limits


def give(report, value):
    report("giving", 0.5)
    return value


def refuse(report):
    raise UserError("it will not do")


def break_down(report):
    raise ValueError("oh")


def die(report):
    os.kill(os.getpid(), 11)


def ask_often(report):
    while True:
        report("working", 0.1)
        time.sleep(0.02)


def never_ask(report):
    time.sleep(600)


@pytest.fixture(scope="module")
def queue():
    with JobQueue(1, Limits(job_minutes=1)) as opened:
        opened.wait(opened.submit("", give, 0))  # the process is there
        yield opened


def wait(job: Job, seconds: float = 60) -> Job:
    until = time.monotonic() + seconds
    while not job.finished and time.monotonic() < until:
        time.sleep(0.01)
    assert job.finished
    return job


def test_results_and_errors_come_back_and_a_dead_process_is_replaced(queue):
    assert wait(queue.submit("a", give, {"x": 1})).result == {"x": 1}
    assert wait(queue.submit("a", refuse)).error == "it will not do"
    assert wait(queue.submit("a", break_down)).error == "a defect of this program: ValueError: oh"
    died = wait(queue.submit("a", die))
    assert died.state == "failed"
    assert "signal 11" in died.error
    assert queue.wait(queue.submit("a", give, 2)) == 2


@pytest.mark.parametrize("task", [ask_often, never_ask])
def test_cancelling_ends_a_job_whether_it_asks_or_not(queue, task):
    job = queue.submit("a", task)
    while job.state == "waiting":
        time.sleep(0.01)
    began = time.monotonic()
    queue.cancel(job)
    assert wait(job).state == "cancelled"
    assert time.monotonic() - began < 15
    assert queue.wait(queue.submit("a", give, 3)) == 3


def test_visitors_take_turns_and_none_takes_all_places(queue):
    blocking = queue.submit("a", ask_often)
    while blocking.state == "waiting":
        time.sleep(0.01)
    second = queue.submit("a", give, 1)
    with pytest.raises(UserError, match="wait until your other"):
        queue.submit("a", give, 2)
    other, another = queue.submit("b", give, 3), queue.submit("b", give, 4)
    third = queue.submit("c", give, 5)
    order = sorted([second, other, another, third], key=queue.ahead)
    # Of a one runs already, so the first ones of b and c come before its second.
    assert order == [other, third, second, another]
    queue.cancel(second)
    assert second.finished
    assert second.state == "cancelled"
    queue.cancel(blocking)
    assert [wait(job).result for job in (other, third, another)] == [3, 5, 4]


def test_a_job_that_takes_too_long_is_ended():
    with JobQueue(1, Limits(job_minutes=1 / 60)) as queue:
        job = wait(queue.submit("a", ask_often))
    assert job.state == "failed"
    assert "longer" in job.error


def test_jobs_that_nobody_asks_about_are_given_up(queue, monkeypatch):
    monkeypatch.setattr("audio_enh.web.jobs.ABANDONED", 0.5)
    running, waiting = queue.submit("a", ask_often), queue.submit("b", give, 1)
    assert running.over.wait(30)
    assert waiting.over.wait(30)
    assert (running.state, waiting.state) == ("cancelled", "cancelled")
