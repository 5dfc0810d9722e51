import threading
import weakref

import pytest

from components.ingestion.in_order import in_order, threads


class Item:
    def __init__(self, number):
        self.number = number


def number_of(item):
    return item.number


class TestInOrder:
    @pytest.mark.parametrize("workers", [1, 2, 5])
    def test_results_come_in_the_order_of_the_items(self, workers):
        first_may_end = threading.Event()

        def work(number):
            if number == 0 and workers > 1:
                assert first_may_end.wait(30)  # done only after a later one
            if number == 1:
                first_may_end.set()
            return number * number

        assert list(in_order(work, range(50), workers)) == [number * number for number in range(50)]

    def test_nothing_of_nothing(self):
        assert list(in_order(number_of, [])) == []

    def test_several_threads_work_at_once(self):
        together = threading.Barrier(3, timeout=30)
        assert len(list(in_order(lambda _: together.wait(), range(3), workers=3))) == 3

    def test_takes_no_more_items_than_keep_the_threads_busy(self):
        taken = []
        results = in_order(number_of, (taken.append(number) or Item(number) for number in range(100)), workers=2)
        assert [next(results) for _ in range(10)] == list(range(10))
        assert len(taken) <= 10 + 3
        results.close()
        assert len(taken) <= 10 + 3

    def test_holds_a_bounded_number_of_items(self):
        alive, most = weakref.WeakSet(), 0

        def items():
            nonlocal most
            for number in range(40):
                item = Item(number)
                alive.add(item)
                yield item
                del item
                most = max(most, len(alive))

        assert list(in_order(number_of, items(), workers=2)) == list(range(40))
        # Two are worked on, two wait, and a thread may be about to let go of what it is done with.
        assert most <= 2 + 2 + 2


class TestErrors:
    def test_of_the_work_come_after_the_results_before_them(self):
        def work(number):
            if number == 3:
                raise ValueError("the fourth is odd")
            return number

        results = in_order(work, range(100), workers=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ValueError, match="the fourth is odd"):
            next(results)

    def test_of_reading_come_after_the_results_before_them(self):
        def items():
            yield from range(3)
            raise OSError("the disk is gone")

        results = in_order(lambda number: number, items(), workers=4)
        assert [next(results) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(OSError, match="the disk is gone"):
            next(results)

    def test_of_the_work_come_before_later_ones_of_reading(self):
        def items():
            yield 0
            raise OSError("the disk is gone")

        def work(number):
            raise ValueError("the first is odd")

        with pytest.raises(ValueError, match="the first is odd"):
            list(in_order(work, items(), workers=4))

    def test_an_interrupt_ends_the_threads(self):
        def items():
            yield from range(5)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            list(in_order(lambda number: number, items(), workers=8))
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ingest")]


def test_threads_are_as_many_as_cores_but_not_without_end(monkeypatch):
    for cores, expected in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr("os.sched_getaffinity", lambda process, cores=cores: set(range(cores)))
        assert threads() == expected
