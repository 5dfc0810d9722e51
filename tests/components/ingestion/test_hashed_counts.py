"""Counting by hash: exact while there is room, a share of all afterwards, the same however rows are cut and merged."""

import pickle

import numpy as np
import pytest

from components.ingestion import row_hash
from components.ingestion.hashed_counts import HashedCounts


def hashes(*numbers):
    return row_hash.mix(np.array(numbers, np.uint64) + np.uint64(1))


def counted(occurrences, most=1 << 10):
    made = HashedCounts(most)
    made.add(occurrences)
    return made


MANY = hashes(*np.repeat(np.arange(5000), np.arange(5000) % 7 + 1))


def test_few_things_are_counted_exactly():
    made = counted(hashes(1, 2, 1, 1, 3))
    made.add(hashes(3))
    assert (made.total, made.different(), made.share) == (6, 3, 1.0)
    assert made.repeats() == [(1, 1), (2, 1), (3, 1)]


def test_of_too_many_a_share_is_counted_with_all_their_occurrences():
    made = counted(MANY)
    assert len(made.hashes) <= 1 << 10
    assert made.share < 1
    assert made.total == len(MANY)
    assert made.different() == pytest.approx(5000, rel=0.1)
    exact = dict(zip(*np.unique(MANY, return_counts=True), strict=True))
    assert all(exact[thing] == count for thing, count in zip(made.hashes, made.counts, strict=True))


@pytest.mark.parametrize("parts", [2, 7])
def test_parts_in_any_order_make_the_whole(parts):
    pieces = [counted(piece) for piece in np.array_split(MANY, parts)]
    whole = counted(MANY)
    for order in (pieces, pieces[::-1]):
        merged = HashedCounts(1 << 10)
        for piece in order:
            merged.merge(pickle.loads(pickle.dumps(piece)))
        assert merged.total == whole.total
        assert merged.share == whole.share
        np.testing.assert_array_equal(merged.hashes, whole.hashes)
        np.testing.assert_array_equal(merged.counts, whole.counts)


def test_the_state_brings_the_counts_back():
    made = counted(MANY)
    again = HashedCounts.of(*made.state(), most=1 << 10)
    assert (again.total, again.share, again.repeats()) == (made.total, made.share, made.repeats())


class TestUnknown:
    def test_counts_occurrences_of_what_others_do_not_have(self):
        assert counted(hashes(1, 2, 2, 9)).unknown_to(counted(hashes(1, 3))) == 0.75

    def test_of_nothing_nothing_is_unknown(self):
        assert HashedCounts().unknown_to(counted(hashes(1))) == 0

    def test_shares_of_both_are_made_one(self):
        new = hashes(*np.arange(2500, 7500))
        estimate = counted(new).unknown_to(counted(hashes(*np.arange(5000)), most=1 << 11))
        assert estimate == pytest.approx(0.5, abs=0.06)
