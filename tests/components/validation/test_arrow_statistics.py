"""TFDV's statistics without Beam. That they are TFDV's is in ../test_parity.py."""

import gzip
import os
import pathlib
import signal

import pytest

pytestmark = pytest.mark.tensorflow

pytest.importorskip("tensorflow_data_validation")

from components.errors import EnvironmentFailure  # noqa: E402
from components.validation import arrow_statistics, schema_file  # noqa: E402
from serving import tfrecords  # noqa: E402
from serving.messages import Example  # noqa: E402

SCHEMA = schema_file.parse("""
feature { name: "text" type: BYTES }
feature { name: "queue" type: BYTES }
feature { name: "amount" type: FLOAT }
feature { name: "area" type: INT int_domain { is_categorical: true } }
""")
QUEUES = ("billing", "delivery", "account")


def row(number):
    example = Example()
    features = example.features.feature
    features["text"].bytes_list.value.append(f"message {number}".encode())
    features["queue"].bytes_list.value.append(QUEUES[number % 3].encode())
    features["area"].int64_list.value.append(number % 7)
    if number % 4:
        features["amount"].float_list.value.append(number / 8)
    return example.SerializeToString()


def write(path: pathlib.Path, numbers) -> pathlib.Path:
    path.write_bytes(gzip.compress(b"".join(tfrecords.framed(row(number)) for number in numbers)))
    return path


@pytest.fixture
def files(tmp_path):
    """More rows than one batch has, in three files, and a split of one."""
    train = [write(tmp_path / f"{part}.gz", range(part, 12_000, 3)) for part in range(3)]
    return {"train": train, "eval": [write(tmp_path / "eval.gz", range(100))]}


def features_of(statistics):
    [dataset] = statistics.datasets
    return {feature.path.step[0]: feature for feature in dataset.features}


def test_each_split_has_those_of_all_its_files(files):
    computed = arrow_statistics.compute(files, SCHEMA, processes=1)
    assert {split: one.datasets[0].num_examples for split, one in computed.items()} == {"train": 12_000, "eval": 100}
    features = features_of(computed["train"])
    assert features.keys() == {"text", "queue", "amount", "area"}
    assert {
        bucket.label: bucket.sample_count for bucket in features["queue"].string_stats.rank_histogram.buckets
    } == dict.fromkeys(QUEUES, 4000)
    amount = features["amount"].num_stats
    assert (amount.common_stats.num_non_missing, amount.common_stats.num_missing) == (9000, 3000)
    assert (amount.min, amount.max) == (1 / 8, 11_999 / 8)
    # A category though it is a number, as the schema says.
    assert features["area"].string_stats.unique == 7


def test_are_the_same_from_any_number_of_processes(files):
    alone = arrow_statistics.compute(files, SCHEMA, processes=1)
    together = arrow_statistics.compute(files, SCHEMA, processes=3, least_bytes_to_share=0)
    for split in (*alone.values(), *together.values()):
        # Values that are equally frequent stand in any order: all texts, some areas.
        for name in ("text", "area"):
            features_of(split)[name].string_stats.ClearField("rank_histogram")
            features_of(split)[name].string_stats.ClearField("top_values")
    assert together == alone


def test_of_an_empty_split_say_so(files, tmp_path):
    computed = arrow_statistics.compute({"train": files["eval"], "eval": [write(tmp_path / "none.gz", [])], "test": []}, SCHEMA)
    assert [one.datasets[0].num_examples for one in computed.values()] == [100, 0, 0]


@pytest.mark.parametrize("least_bytes_to_share", [0, 1 << 30], ids=["in processes", "in this one"])
def test_a_file_that_was_cut_off_is_an_error_that_names_it(files, least_bytes_to_share):
    [damaged] = files["eval"]
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(EnvironmentFailure, match=r"eval\.gz is damaged. Run again with --no-cache"):
        arrow_statistics.compute(files, SCHEMA, processes=2, least_bytes_to_share=least_bytes_to_share)


def test_a_process_that_is_killed_is_the_machines_failure(files, monkeypatch):
    parent = os.getpid()

    def killed(path):
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)
        yield

    monkeypatch.setattr(arrow_statistics, "_batches", killed)
    with pytest.raises(EnvironmentFailure, match="ran out of memory"):
        arrow_statistics.compute(files, SCHEMA, processes=2, least_bytes_to_share=0)
