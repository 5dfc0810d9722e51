"""How many executors run at once."""

import contextlib
import threading
import time

import pytest

from pipeline.local import memory, room


def others_get_in(places, seconds=0.2):
    """Says whether one more gets a place while this thread waits."""
    got = threading.Event()

    def enter():
        with places.place():
            got.set()

    threading.Thread(target=enter, daemon=True).start()
    return got.wait(seconds)


def test_as_many_as_there_are_cores():
    places = room.Room(cores=2, available_mib=lambda: 1e6)
    with places.place():
        assert others_get_in(places)
        with places.place():
            assert not others_get_in(places)


def test_only_one_where_memory_is_short_and_that_one_always():
    places = room.Room(cores=8, available_mib=lambda: 10.0)
    with places.place():
        assert not others_get_in(places)
    assert others_get_in(places)


@pytest.mark.parametrize(("available", "fits"), [(1500.0, False), (2500.0, True)])
def test_what_executors_needed_so_far_is_what_the_next_one_will_need(available, fits):
    places = room.Room(cores=8, available_mib=lambda: available)
    places.needed(2000.0)
    with places.place():
        assert others_get_in(places) is fits


def test_who_waits_is_let_go_when_the_run_ends():
    places, ended = room.Room(cores=1), threading.Event()
    inside = threading.Event()

    def wait():
        with places.place(ended.is_set):
            inside.set()

    with places.place():
        threading.Thread(target=wait, daemon=True).start()
        assert not inside.wait(0.1)
        ended.set()
        assert inside.wait(5)


def test_a_place_comes_back_after_an_error():
    places = room.Room(cores=1)
    with contextlib.suppress(KeyError), places.place():
        raise KeyError
    assert others_get_in(places)


class TestMemory:
    def test_what_is_left_is_less_than_what_the_machine_has(self):
        with open("/proc/meminfo", encoding="ascii") as file:
            total = int(file.readline().split()[1]) / 1024
        assert 0 < memory.available_mib() < total

    def test_a_watch_sees_what_this_process_holds_for_a_while(self):
        watch = memory.PeakWatch()
        watch.look()
        before, block = watch.peak_mib, bytearray(b"x" * 100 * 2**20)
        watch.look()
        with_block = watch.peak_mib
        del block
        watch.look()
        assert before + 90 < with_block == watch.peak_mib

    def test_a_watch_looks_until_it_is_stopped(self, monkeypatch):
        monkeypatch.setattr(memory, "_SECONDS_BETWEEN_LOOKS", 0.01)
        watch = memory.PeakWatch()
        watch.start()
        until = time.monotonic() + 5
        while not watch.peak_mib and time.monotonic() < until:
            time.sleep(0.01)
        watch.stop()
        assert watch.peak_mib > 1
