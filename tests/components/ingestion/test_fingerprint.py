import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.ingestion.fingerprint import Fingerprint

HASHES = np.random.default_rng(0).integers(0, 2**64 - 1, 1000, dtype=np.uint64)


def _schema(name="text"):
    return schema_pb2.Schema(feature=[schema_pb2.Feature(name=name, type=schema_pb2.BYTES)])


def _of(*parts, name="text"):
    fingerprint = Fingerprint(_schema(name))
    for part in parts:
        fingerprint.add(part)
    return fingerprint


def test_order_batches_and_splits_do_not_matter():
    whole = _of(HASHES).hexdigest()
    assert _of(HASHES[::-1]).hexdigest() == whole
    assert _of(HASHES[:1], HASHES[1:]).hexdigest() == whole
    assert Fingerprint(_schema()).join([_of(HASHES[:300]), _of(HASHES[300:])]).hexdigest() == whole


@pytest.mark.parametrize("other", [HASHES[:-1], np.r_[HASHES, HASHES[:1]], np.r_[HASHES[:-1], HASHES[:1]]])
def test_rows_and_how_often_they_are_there_do(other):
    assert _of(other).hexdigest() != _of(HASHES).hexdigest()


def test_columns_do():
    assert _of(HASHES, name="message").hexdigest() != _of(HASHES).hexdigest()
