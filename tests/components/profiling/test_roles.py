import random

import pyarrow as pa
import pytest

from components.errors import UsageError
from components.profiling.profile import Profiler
from components.profiling.roles import Encoding, Wishes, assign

ROWS = 2000
RANDOM = random.Random(7)
WORDS = ["please", "open", "close", "the", "door", "order", "account", "refund", "my", "ticket", "now", "cancel"]
LABEL = [RANDOM.choice("abc") for _ in range(ROWS)]
MESSAGES = [" ".join(RANDOM.choices(WORDS, k=6)) for _ in range(ROWS)]
AMOUNTS = [RANDOM.random() * 100 for _ in range(ROWS)]


def _draw(*values):
    return [RANDOM.choice(values) for _ in range(ROWS)]


def _assign(columns, label="queue", **wishes):
    columns = {"queue": LABEL, **columns}
    profiler = Profiler()
    profiler.add(pa.RecordBatch.from_pydict(columns))
    return assign(profiler.finish(), Wishes(label=label, **wishes))


class TestLabel:
    def test_counts_its_classes_without_the_blanks_around_them(self):
        roles = _assign({"queue": ["b", " a", "a ", "b", "b", None], "fare": [1.5, 2.5, 3.5, 4.5, 5.5, 6.5]})

        assert dict(roles.classes) == {"b": 3, "a": 2}

    def test_warns_of_rare_classes_missing_labels_and_few_rows(self):
        warnings = "\n".join(_assign({"queue": ["a"] * 9 + ["b", None], "fare": AMOUNTS[:11]}).warnings)

        assert "1 of 2 classes have fewer than 5 rows" in warnings
        assert "1 rows have no queue" in warnings
        assert "10 labelled rows are few" in warnings

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ([str(index) for index in range(300)], "at most 200 classes; 'queue' has 300 different numbers.*--derive"),
            ([f"x{index}" for index in range(300)], "300 different values"),
            ([index % 60 for index in range(300)], "60 different numbers"),
            ([index % 9 + 0.5 for index in range(300)], "9 different amounts"),
            (["a"] * 300, "at least two classes"),
            ([""] * 300, "no value in any of 300 rows"),
        ],
    )
    def test_must_make_classes(self, values, message):
        with pytest.raises(UsageError, match=message):
            _assign({"queue": values, "fare": AMOUNTS[:300]})


class TestWishes:
    def test_name_columns_that_are_there(self):
        with pytest.raises(UsageError, match="--text names 'boddy'.*Did you mean 'body'"):
            _assign({"body": MESSAGES}, text=("boddy",))

    @pytest.mark.parametrize(
        "wishes", [{"text": ("queue",)}, {"segments": ("queue",)}, {"exclude": ("queue",)}, {"group": "queue"}]
    )
    def test_give_a_column_one_role(self, wishes):
        with pytest.raises(UsageError, match="'queue'.*--label"):
            _assign({"body": MESSAGES}, **wishes)

    @pytest.mark.parametrize(
        ("wishes", "message"),
        [
            ({"text": ("memo",)}, "'memo', which has no text in any of 2000 rows"),
            ({"timestamp": "body"}, "A timestamp is seconds since the epoch or ISO 8601 text.*'body' is neither"),
            ({"split_column": "body"}, "A split column holds only the values train,.*'body' does not"),
        ],
    )
    def test_name_columns_that_can_have_the_role(self, wishes, message):
        with pytest.raises(UsageError, match=message):
            _assign({"body": MESSAGES, "memo": [""] * ROWS}, **wishes)

    @pytest.mark.parametrize(
        ("wishes", "values"),
        [
            ({"segments": ("c",)}, _draw("train", "test")),
            ({"group": "c"}, _draw("train", "test")),
            ({"segments": ("c",)}, _draw("2024-01-01", "2024-01-02")),
            ({"text": ("c",)}, _draw("2024-01-01", "2024-01-02")),
        ],
    )
    def test_hold_for_columns_that_look_like_something_else(self, wishes, values):
        roles = _assign({"body": MESSAGES, "c": values}, **wishes)

        assert "c" in {*roles.text, *roles.segments, roles.group}
        assert roles.split_column is None
        assert "c" not in roles.left_out

    def test_win_over_what_would_have_been_found(self):
        roles = _assign(
            {"body": MESSAGES, "memo": MESSAGES[::-1], "language": _draw("de", "en"), "wing": _draw("n", "s")},
            text=("memo",),
            segments=("wing",),
            exclude=("language",),
        )

        assert roles.text == ("memo",)
        assert roles.segments == ("wing",)
        assert roles.exclude == ("language",)
        assert "language" not in roles.inputs


class TestText:
    def test_is_found_by_name(self):
        assert _assign({"subject": MESSAGES[::-1], "body": MESSAGES, "memo": MESSAGES}).text == ("subject", "body")

    def test_is_found_by_content_where_names_say_nothing(self):
        longer = [f"{message} {message}" for message in MESSAGES]

        assert _assign({"c1": MESSAGES, "c2": longer}).text == ("c2",)

    def test_is_found_in_scripts_without_spaces(self):
        assert _assign({"c1": [f"请打开客厅的灯{index}" for index in range(ROWS)]}).text == ("c1",)

    def test_is_found_in_tiny_tables(self):
        assert _assign({"queue": ["a", "b"] * 10, "message": ["hello my friend", "good bye you"] * 10}).text == ("message",)

    @pytest.mark.parametrize("name", ["reply", "slot_labels", "customer_name"])
    def test_is_not_what_was_written_afterwards_or_names_someone(self, name):
        assert name not in _assign({name: MESSAGES, "fare": AMOUNTS}).text

    def test_is_none_in_a_table_of_numbers_and_categories(self):
        roles = _assign({"fare": AMOUNTS, "company": _draw("Taxi Affiliation Services", "Blue Ribbon Taxi Inc")})

        assert roles.text == ()
        assert dict(roles.inputs) == {"fare": Encoding.REAL, "company": Encoding.CATEGORY}


class TestSplit:
    def test_is_by_a_column_that_says_it(self):
        roles = _assign({"body": MESSAGES, "fold": _draw("train", "Dev", "test")})

        assert (roles.split_by, roles.split_column) == ("column", "fold")

    def test_is_by_a_repeated_identifier_of_who_wrote(self):
        roles = _assign({"body": MESSAGES, "conversation_id": [f"c{index // 5}" for index in range(ROWS)]})

        assert (roles.split_by, roles.group) == ("group", "conversation_id")

    def test_is_not_by_an_identifier_that_is_hardly_ever_repeated(self):
        assert _assign({"body": MESSAGES, "conversation_id": [f"c{index}" for index in range(ROWS)]}).group is None

    def test_is_by_time_only_if_asked(self):
        columns = {
            "body": MESSAGES,
            "sent_at": [1_600_000_000 + index for index in range(ROWS)],
            "user_id": [f"u{index % 300}" for index in range(ROWS)],
        }

        found, asked = _assign(columns), _assign(columns, timestamp="sent_at")

        assert (found.split_by, found.timestamp) == ("group", None)
        assert "--timestamp sent_at" in "\n".join(found.decisions)
        assert (asked.split_by, asked.timestamp) == ("time", "sent_at")

    def test_is_by_hash_otherwise(self):
        assert _assign({"body": MESSAGES}).split_by == "hash"


class TestInputs:
    @pytest.mark.parametrize(
        ("name", "values", "encoding"),
        [
            ("fare", AMOUNTS, Encoding.REAL),
            ("area", _draw(*range(70)), Encoding.CODE),
            ("area", _draw("7.0", "12.0", None), Encoding.CODE),
            ("choice", _draw(0, 1), Encoding.CODE),
            ("n_children", _draw(0, 1, 2), Encoding.WHOLE),
            ("income", _draw(*range(500)), Encoding.WHOLE),
            ("income", _draw(*range(500), None), Encoding.REAL),
            ("income", _draw(*(f"{value}.0" for value in range(500))), Encoding.REAL),
            ("company", _draw("x", "y", None), Encoding.CATEGORY),
            ("postcode", _draw("01234", "04321"), Encoding.CATEGORY),
        ],
    )
    def test_have_an_encoding(self, name, values, encoding):
        assert _assign({name: values}).inputs[name] is encoding

    @pytest.mark.parametrize(
        ("values", "reason"),
        [
            ([""] * ROWS, "empty"),
            (["x"] * ROWS, "one value only"),
            (["x", "y", *[None] * (ROWS - 2)], "almost empty"),
            ([f"id-{index}" for index in range(ROWS)], "an identifier"),
            (list(range(ROWS)), "an identifier"),
            ([f'{{"a": {index}}}' for index in range(ROWS)], "nested values"),
            ([f"2024-01-01 10:{index % 60:02}:00" for index in range(ROWS)], "a time"),
            ([1e300, 2e300] * (ROWS // 2), "numbers beyond float32"),
        ],
    )
    def test_leave_out_what_cannot_be_learned_from(self, values, reason):
        roles = _assign({"column": values, "fare": AMOUNTS})

        assert roles.left_out["column"] == reason
        assert list(roles.inputs) == ["fare"]

    def test_beside_text_are_only_what_a_request_would_carry(self):
        roles = _assign({
            "text": MESSAGES, "channel": _draw("app", "web"), "turn": _draw(*range(40)), "csat": _draw(1, 5), "priority": _draw("hi", "lo"),
        })  # fmt: skip

        assert list(roles.inputs) == ["channel", "turn"]
        assert set(roles.left_out) == {"csat", "priority"}
        assert "does a request carry channel, turn?" in "\n".join(roles.warnings)

    def test_must_be_there_or_text_must(self):
        with pytest.raises(UsageError, match=r"Nothing is left to predict 'queue' from: row_id \(an identifier\)"):
            _assign({"row_id": [f"x{index}" for index in range(ROWS)]})

    def test_warn_of_cells_that_are_no_numbers(self):
        roles = _assign({"fare": ["oops", *map(str, AMOUNTS[1:])]})

        assert roles.inputs["fare"] is Encoding.REAL
        assert "1 cells of fare are not numbers" in "\n".join(roles.warnings)


class TestLeaks:
    def test_are_columns_as_good_as_the_label(self):
        roles = _assign({"queue_code": [ord(label) for label in LABEL], "fare": AMOUNTS})

        assert roles.exclude == ("queue_code",)
        assert "queue_code is not an input: it gives the label away" in "\n".join(roles.warnings)

    def test_are_coarser_labels_which_may_be_sliced_by(self):
        label = [f"{kind}{RANDOM.randrange(5)}" for kind in _draw("travel ", "bank ")]
        roles = _assign({"queue": label, "text": MESSAGES, "domain": [value[:4] for value in label]})

        assert roles.exclude == ()
        assert roles.segments == ("domain",)
        assert "domain" not in roles.inputs

    def test_are_columns_far_ahead_of_all_others(self):
        telling = [label if RANDOM.random() < 0.9 else "c" for label in LABEL]

        assert _assign({"payment_type": telling, "fare": AMOUNTS, "company": _draw("x", "y")}).exclude == ("payment_type",)

    def test_are_not_good_columns_among_good_columns(self):
        noisy = {name: [label if RANDOM.random() < 0.8 else "c" for label in LABEL] for name in ("petal", "sepal")}

        assert set(_assign(noisy).inputs) == {"petal", "sepal"}

    def test_are_what_a_derived_label_is_computed_from(self):
        tips, fares = AMOUNTS, [RANDOM.uniform(100, 300) for _ in range(ROWS)]
        big = ["true" if tip > 0.2 * fare else "false" for tip, fare in zip(tips, fares, strict=True)]
        roles = _assign({"queue": big, "tips": tips, "fare": fares, "miles": AMOUNTS[::-1]}, label_sources=("fare", "tips"))

        assert "tips" in roles.exclude
        assert "miles" in roles.inputs
        assert "tips is not an input: the label is computed from it" in "\n".join(roles.warnings)


class TestSegments:
    def test_are_found_by_name_with_enough_rows(self):
        columns = {
            "text": MESSAGES,
            "language": _draw("de", "en"),
            "region": ["eu"] * (ROWS - 5) + ["us"] * 5,
            "mood": _draw("x", "y"),
        }

        assert _assign(columns).segments == ("language",)

    def test_named_ones_may_be_tiny_but_it_is_said(self):
        roles = _assign({"text": MESSAGES, "city": [f"c{index % 150}" for index in range(ROWS)]}, segments=("city",))

        assert roles.segments == ("city",)
        assert "the segment city has 150 values" in "\n".join(roles.warnings)
