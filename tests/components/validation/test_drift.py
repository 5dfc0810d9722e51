"""Drift and skew: what is called different, and what is said about it."""

import numpy as np
import pytest
from tensorflow_metadata.proto.v0 import statistics_pb2

from components.findings import Severity
from components.validation import drift
from components.validation.options import SKEW, ValidationOptions
from tests.components.validation.test_distances import DECILES, categorical, numeric

TEXT = "my secret is 4111"


def dataset(rows, **features):
    result = statistics_pb2.DatasetFeatureStatistics(num_examples=rows)
    for name, feature in features.items():
        added = result.features.add()
        added.CopyFrom(feature)
        added.path.step.append(name)
    return result


def compare(before, after, options=None, **roles):
    options = options or ValidationOptions()
    kind = roles.pop("kind", "drift")
    compared = drift.compare(before, after, drift.Columns(**roles), options, drift.PREVIOUS, kind)
    return compared, drift.findings(compared, options)


def message_column(average, rows=1000, text=TEXT):
    feature = categorical({text: 9}, unlisted=rows - 9, unique=rows - 8)
    feature.string_stats.avg_length = average
    return feature


OLD = dataset(1000, channel=categorical({"web": 500, "phone": 500}), fare=numeric(DECILES))
MOVED = dataset(1000, channel=categorical({"web": 200, "phone": 800}), fare=numeric(DECILES))


class TestVerdict:
    def test_equal_data_has_one_finding_that_says_what_was_compared(self):
        _, [finding] = compare(OLD, OLD)
        assert finding.severity is Severity.INFO
        assert "2 columns of 1,000 rows were compared with the previous data" in finding.message

    def test_a_moved_column_is_named_with_its_largest_changes(self):
        _, [finding, _] = compare(OLD, MOVED)
        assert (finding.check, finding.subject, finding.severity) == ("drift", "channel", Severity.WARNING)
        for part in ("the previous data", "web 50.0% -> 20.0%", "PSI 0.4", "L-infinity 0.300", "corrected for 2 columns"):
            assert part in finding.message

    def test_a_million_rows_do_not_alarm_on_nothing(self):
        before = dataset(1_000_000, channel=categorical({"web": 500_000, "phone": 500_000}))
        after = dataset(1_000_000, channel=categorical({"web": 505_000, "phone": 495_000}))
        compared, [finding] = compare(before, after)
        assert compared.columns[0].p_value < 1e-9
        assert finding.severity is Severity.INFO

    def test_twenty_rows_do_not_alarm_on_chance(self):
        compared, [finding] = compare(
            dataset(20, channel=categorical({"web": 11, "phone": 9})), dataset(20, channel=categorical({"web": 7, "phone": 13}))
        )
        assert compared.columns[0].largest > 0.1
        assert finding.severity is Severity.INFO

    def test_samples_of_one_population_rarely_differ(self):
        generator = np.random.default_rng(5)

        def sample():
            counts = {f"c{number}": generator.multinomial(500, generator.permutation([0.1] * 10)) for number in range(20)}
            return dataset(
                500, **{name: categorical(dict(zip("abcdefghij", map(int, c), strict=True))) for name, c in counts.items()}
            )

        alarms = sum(column.different for _ in range(20) for column in compare(sample(), sample())[0].columns)
        assert alarms <= 1

    @pytest.mark.parametrize(
        ("chosen", "expected"), [("error", Severity.ERROR), ("warning", Severity.WARNING), ("info", Severity.INFO)]
    )
    def test_the_pipeline_file_says_how_severe(self, chosen, expected):
        options = ValidationOptions(severity={"channel": {"drift": chosen}})
        assert {finding.severity for finding in compare(OLD, MOVED, options)[1] if finding.subject} == {expected}

    def test_an_ignored_column_has_no_finding(self):
        options = ValidationOptions(severity={"*": {"drift": "ignore"}})
        assert [finding.subject for finding in compare(OLD, MOVED, options)[1]] == [""]


class TestColumns:
    def test_a_timestamp_moves_and_is_left_out(self):
        compared, _ = compare(OLD, MOVED, moving=["channel"])
        assert [column.column for column in compared.columns] == ["fare"]

    def test_a_serving_log_is_held_against_inputs_only(self):
        compared, [finding, _] = compare(OLD, MOVED, inputs=["channel"], kind=SKEW)
        assert [column.column for column in compared.columns] == ["channel"]
        assert finding.check == "skew"

    def test_a_column_of_one_data_set_only_is_left_to_the_schema(self):
        assert compare(OLD, dataset(1000, fare=numeric(DECILES)))[0].columns[0].column == "fare"

    def test_texts_are_never_named(self):
        before, after = (dataset(1000, text=message_column(*values)) for values in ((40.0,), (41.0, 1000, "another secret")))
        compared, found = compare(before, after, text=["text"])
        assert not any(column.different for column in compared.columns)
        assert "secret" not in str(compared.to_json()) + str(found)

    def test_texts_of_another_length_are_another_kind_of_text(self):
        before, after = (dataset(1000, text=message_column(length)) for length in (40.0, 400.0))
        _, [finding, _] = compare(before, after, text=["text"])
        assert "mean length 40.0 -> 400.0 bytes" in finding.message

    def test_an_emptied_column_is_missing_now(self):
        empty = message_column(40.0)
        empty.string_stats.common_stats.num_non_missing = 100
        _, [finding, _] = compare(dataset(1000, text=message_column(40.0)), dataset(1000, text=empty), text=["text"])
        assert "(missing) 0.0% -> 90.0%" in finding.message


class TestPoisonedDays:
    """Each kind of bad day, on one column of statistics: what it does to a column is found in that column and no other."""

    LABELS = {"refund": 400, "status": 300, "cancel": 200, "other": 100}
    KNOWN = {
        "fare": numeric(DECILES),
        "miles": numeric([edge / 10 for edge in DECILES]),
        "intent": categorical(LABELS),
        "language": categorical({"de": 500, "en": 500}),
        "customer": categorical({f"c{number}": 1 for number in range(1000)}),
    }

    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            pytest.param({"fare": numeric([100 * edge for edge in DECILES])}, {"fare"}, id="another unit"),
            pytest.param({"fare": KNOWN["miles"], "miles": KNOWN["fare"]}, {"fare", "miles"}, id="swapped columns"),
            pytest.param(
                {"customer": categorical({"c7": 300, **{f"d{number}": 1 for number in range(700)}})}, {"customer"}, id="a flood"
            ),
            pytest.param({"language": categorical({"de": 450, "en": 450, "fr": 100})}, {"language"}, id="a new language"),
            pytest.param(
                {"intent": categorical({"status": 400, "cancel": 300, "other": 200, "refund": 100})},
                {"intent"},
                id="shifted labels",
            ),
            pytest.param({"language": categorical({"de": 10, "en": 10})}, {"language"}, id="an emptied column"),
            pytest.param({"customer": categorical({f"d{number}": 1 for number in range(1000)})}, set(), id="nothing"),
        ],
    )
    def test_is_found_where_it_is(self, changed, expected):
        compared, found = compare(
            dataset(1000, **self.KNOWN), dataset(1000, **{**self.KNOWN, **changed}), identifiers=["customer"]
        )
        assert {column.column for column in compared.columns if column.different} == expected
        assert {finding.subject for finding in found if finding.severity is not Severity.INFO} == expected

    @pytest.mark.parametrize(
        ("changed", "says"),
        [
            ({"fare": numeric([100 * edge for edge in DECILES])}, "'fare' looks multiplied by 100"),
            ({"fare": KNOWN["miles"], "miles": KNOWN["fare"]}, "'miles' seems to have changed places with column 'fare'"),
            ({"language": categorical({})}, "'language' has no values any more"),
        ],
    )
    def test_a_fault_of_the_data_comes_first_and_is_an_error(self, changed, says):
        new = {**self.KNOWN, "intent": categorical({"status": 1000}), **changed}
        compared, [first, *_] = compare(dataset(1000, **self.KNOWN), dataset(1000, **new), identifiers=["customer"])
        assert first.severity is Severity.ERROR
        assert says in first.message
        assert "compared with the previous data" in first.message
        assert compared.to_json()["columns"][0]["fault"]["certain"]

    def test_a_flood_is_a_warning(self):
        flood = categorical({"c7": 300, **{f"d{number}": 1 for number in range(700)}})
        _, [first, *_] = compare(
            dataset(1000, **self.KNOWN), dataset(1000, **{**self.KNOWN, "customer": flood}), identifiers=["customer"]
        )
        assert first.severity is Severity.WARNING
        assert "'customer' is flooded by one value, now in 30.0% of the rows" in first.message

    def test_the_pipeline_file_may_say_that_a_fault_is_none(self):
        new = {**self.KNOWN, "fare": numeric([100 * edge for edge in DECILES])}
        options = ValidationOptions(severity={"fare": {"drift": "info"}})
        _, found = compare(dataset(1000, **self.KNOWN), dataset(1000, **new), options)
        assert {finding.severity for finding in found} == {Severity.INFO}

    def test_a_timestamp_in_another_unit_is_found_though_it_moves(self):
        seconds = [1_772_000_000.0 + 1000 * edge for edge in DECILES]
        old, same, millis = (
            numeric([(at + step) * times for at in seconds]) for step, times in ((0, 1), (86_400, 1), (86_400, 1000))
        )
        assert not compare(dataset(1000, at=old), dataset(1000, at=same), moving=["at"])[0].columns
        _, [first, _] = compare(dataset(1000, at=old), dataset(1000, at=millis), moving=["at"])
        assert "'at' looks multiplied by 1,000" in first.message

    def test_a_text_in_a_categorys_column_is_not_shown(self):
        channel = categorical({"web": 500, "phone": 500})
        channel.string_stats.avg_length = 4.0
        compared, found = compare(
            dataset(1000, text=message_column(40.0), channel=channel),
            dataset(1000, text=channel, channel=message_column(40.0)),
            text=["text"],
        )
        assert {finding.subject for finding in found if "changed places" in finding.message} == {"text", "channel"}
        assert TEXT not in str(compared.to_json()) + str(found)


class TestSplits:
    def test_an_identifier_is_counted_over_all_splits_and_other_columns_in_train(self, tmp_path):
        customers = {"train": {"a": 2, "b": 2}, "eval": {"b": 1}, "test": {"c": 30}}
        for split, counts in customers.items():
            folder = tmp_path / f"Split-{split}"
            folder.mkdir()
            one = dataset(sum(counts.values()), customer=categorical(counts), channel=categorical({split: sum(counts.values())}))
            content = statistics_pb2.DatasetFeatureStatisticsList(datasets=[one]).SerializeToString()
            (folder / "FeatureStats.pb").write_bytes(content)
        read = {feature.path.step[0]: feature.string_stats for feature in drift.read(tmp_path, ["customer"]).features}
        assert {one.label: one.sample_count for one in read["customer"].rank_histogram.buckets} == {"c": 30, "b": 3, "a": 2}
        assert (read["customer"].unique, read["customer"].common_stats.num_non_missing) == (3, 35)
        assert [one.label for one in read["channel"].rank_histogram.buckets] == ["train"]
        assert [
            one.label for feature in drift.read(tmp_path).features for one in feature.string_stats.rank_histogram.buckets
        ] == [
            "a",
            "b",
            "train",
        ]
