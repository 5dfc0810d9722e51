import numpy as np
import pyarrow as pa
import pytest
from tensorflow_metadata.proto.v0 import schema_pb2

from components.errors import UsageError
from components.ingestion import conform
from components.ingestion.options import DataOptions
from components.ingestion.quarantine import Sieve
from components.validation import schema_file

OPTIONS = {"source": {"type": "csv", "path": "t.csv"}, "label": "label", "text": "text"}


@pytest.fixture
def conformed(make_schema):
    """Conforms columns to a schema and returns the kept rows and the positions set aside, by reason."""

    def run(columns, features, **settings):
        rows = pa.RecordBatch.from_pydict(columns)
        sieve = Sieve(np.arange(1, rows.num_rows + 1))
        result = conform.conform(rows, make_schema(**features), DataOptions(**OPTIONS | settings), sieve)
        kept = result.filter(pa.array(sieve.kept())).to_pylist()
        return kept, {entry.reason: entry.positions.tolist() for entry in sieve.rejected()}

    return run


class TestConform:
    def test_casts_to_the_three_stored_types(self, conformed):
        rows, rejected = conformed(
            {"label": pa.array([1]), "text": ["hi"], "fare": ["2.5"], "seconds": ["180.0"]},
            {"fare": "FLOAT", "seconds": "INT", "text": "BYTES", "label": "BYTES"},
        )
        assert rows == [{"fare": 2.5, "seconds": 180, "text": "hi", "label": "1"}]
        assert not rejected

    @pytest.mark.parametrize(
        ("label", "expected"),
        [
            (pa.array([" a "]), "a"),
            (pa.array([1]), "1"),
            (pa.array([2.5]), "2.5"),
            (pa.array([1.0]), "1"),
            (pa.array(["true"]), "true"),
        ],
    )
    def test_labels_are_stripped_text(self, label, expected, conformed):
        assert conformed({"label": label}, {"label": "BYTES"})[0] == [{"label": expected}]

    @pytest.mark.parametrize("label", [None, "", "  "])
    def test_rows_without_a_label_are_set_aside(self, label, conformed):
        assert conformed({"label": ["a", label]}, {"label": "BYTES"}) == ([{"label": "a"}], {"missing label": [2]})

    def test_cells_that_do_not_cast_set_their_row_aside(self, conformed):
        columns = {"label": ["a"] * 4, "fare": ["1", "one", "1e300", "inf"], "count": ["1", "2", "3.5", "4"]}
        rows, rejected = conformed(columns, {"label": "BYTES", "fare": "FLOAT", "count": "INT"})
        assert rows == [{"label": "a", "fare": 1.0, "count": 1}]
        assert rejected == {"fare: not a number": [2], "fare: out of range": [3, 4]}

    def test_rows_with_missing_text_are_kept(self, conformed):
        rows, rejected = conformed({"label": ["a", "a"], "text": ["", None]}, {"label": "BYTES", "text": "BYTES"})
        assert rows == [{"label": "a", "text": None}] * 2
        assert not rejected

    def test_text_is_measured_in_bytes(self, conformed):
        columns = {"label": ["a", "a", "a"], "text": ["12345678", "ééééé", "123456789"]}
        rows, rejected = conformed(columns, {"label": "BYTES", "text": "BYTES"}, max_text_bytes=8)
        assert [row["text"] for row in rows] == ["12345678"]
        assert rejected == {"text too long": [2, 3]}


class TestCheckRoles:
    def test_accepts_what_fits(self, make_schema):
        conform.check_roles(DataOptions(**OPTIONS, exclude=["leak"]), make_schema(text="BYTES", label="BYTES", fare="FLOAT"))

    @pytest.mark.parametrize(
        ("features", "settings", "message"),
        [
            ({"text": "BYTES"}, {}, "data.label names 'label', which the schema does not list"),
            ({"label": "BYTES"}, {}, "data.text names 'text', which the schema does not list"),
            ({"text": "BYTES", "label": "BYTES"}, {"segments": [["text", "region"]]}, "data.segments names 'region'"),
            ({"text": "BYTES", "label": "INT"}, {}, "data.label 'label' is stored as text; set its type in the schema to BYTES"),
            ({"text": "BYTES", "label": "BYTES", "x": "STRUCT"}, {}, "gives 'x' STRUCT"),
            ({"text": "BYTES", "label": "BYTES", "tips": "FLOAT"}, {"exclude": ["tips"]}, "drops 'tips', which the schema lists"),
        ],
    )
    def test_says_what_does_not_fit(self, features, settings, message, make_schema):
        with pytest.raises(UsageError, match=message):
            conform.check_roles(DataOptions(**OPTIONS, **settings), make_schema(**features))

    def test_a_feature_needs_a_type(self):
        schema = schema_pb2.Schema()
        schema.feature.add(name="text")
        with pytest.raises(UsageError, match="TYPE_UNKNOWN"):
            conform.check_roles(DataOptions(**OPTIONS), schema)


class TestEnforcedSchema:
    SCHEMA = """
    feature { name: "label" type: BYTES }
    feature { name: "channel" type: BYTES presence { min_fraction: 1 } string_domain { value: "web" value: "phone" } }
    feature { name: "language" type: BYTES domain: "languages" }
    feature { name: "company" type: BYTES string_domain { value: "Blue" } distribution_constraints { min_domain_mass: 0.9 } }
    feature { name: "age" type: INT int_domain { min: 0 max: 120 } }
    feature { name: "fare" type: FLOAT presence { min_fraction: 0.9 } float_domain { min: 0 } }
    string_domain { name: "languages" value: "de" value: "en" }
    """
    GOOD = {"label": "a", "channel": "web", "language": "de", "company": "Blue", "age": 30, "fare": 1.5}

    def _rejected(self, enforce, settings=(), **cells):
        columns = {name: pa.array([value, cells.get(name, value)]) for name, value in self.GOOD.items()}
        sieve = Sieve(np.array([1, 2]))
        options = DataOptions(**OPTIONS | {"text": (), "enforce_schema": enforce} | dict(settings))
        conform.conform(pa.RecordBatch.from_pydict(columns), schema_file.parse(self.SCHEMA), options, sieve)
        return {entry.reason: entry.positions.tolist() for entry in sieve.rejected()}

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ({"channel": "fax"}, "channel: not in its domain"),
            ({"channel": None}, "channel: missing"),
            ({"language": "fr"}, "language: not in its domain"),
            ({"age": -1}, "age: below 0"),
            ({"age": 121}, "age: above 120"),
            ({"fare": -0.5}, "fare: below 0.0"),
        ],
    )
    def test_a_rule_for_every_row_sets_the_row_aside(self, cells, reason):
        assert self._rejected(True, **cells) == {reason: [2]}
        assert self._rejected(False, **cells) == {}

    def test_rows_of_a_servers_log_are_kept_so_that_their_skew_is_seen(self):
        log = {"source": {"type": "prediction_log", "path": "log"}}
        assert self._rejected(True, log, channel="fax", age=121) == {}

    @pytest.mark.parametrize("cells", [{}, {"company": "Green"}, {"fare": None}, {"language": None}, {"age": None}])
    def test_what_the_schema_tolerates_of_some_does_not(self, cells):
        assert self._rejected(True, **cells) == {}
