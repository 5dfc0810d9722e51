"""How many executors run at once."""

import contextlib
import os
import socket
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
    places = room.Room(cores=8, available_mib=lambda: available, own_mib=lambda process: 2000.0)
    places.needed(2000.0)
    with places.place() as grown:
        grown.process = 1
        assert others_get_in(places) is fits


class TestOneThatHasJustBegun:
    """Of 1,900 MiB that are left the second of two executors could have its 1,024, but so could the first."""

    def test_keeps_the_next_one_out_until_it_has_taken_what_it_needs(self):
        taken = {1: 0.0}
        places = room.Room(cores=8, available_mib=lambda: 1900.0 - taken[1] / 4, own_mib=taken.__getitem__)
        with places.place() as first:
            assert not others_get_in(places)
            first.process = 1
            taken[1] = 100.0
            assert not others_get_in(places)
            taken[1] = 1024.0
            assert others_get_in(places, seconds=5)

    def test_two_of_them_count_both(self):
        places = room.Room(cores=8, available_mib=lambda: 3000.0)
        with places.place(), places.place():
            assert not others_get_in(places)

    def test_has_no_claim_on_more_than_it_needs(self):
        places = room.Room(cores=8, available_mib=lambda: 1100.0, own_mib=lambda process: 5000.0)
        with places.place() as large:
            large.process = 1
            assert others_get_in(places)


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

    def test_a_forks_own_memory_is_what_it_has_taken_since(self):
        block = bytearray(b"x" * 100 * 2**20)
        mine, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            more = b"y" * 50 * 2**20
            theirs.send(more[:1])
            theirs.recv(1)
            os._exit(0)
        try:
            mine.recv(1)
            assert 50 <= memory.own_of_tree_mib(pid) < 100
            assert memory.own_of_tree_mib(os.getpid()) > 50
        finally:
            mine.send(b"e")
            os.waitpid(pid, 0)
            mine.close()
            theirs.close()
            del block

    def test_a_watch_looks_until_it_is_stopped(self, monkeypatch):
        monkeypatch.setattr(memory, "_SECONDS_BETWEEN_LOOKS", 0.01)
        watch = memory.PeakWatch()
        watch.start()
        until = time.monotonic() + 5
        while not watch.peak_mib and time.monotonic() < until:
            time.sleep(0.01)
        watch.stop()
        assert watch.peak_mib > 1
