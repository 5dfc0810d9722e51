import pytest

from components.release.audit import AuditTrail, Entry, State, stable_history, unfinished, user


def entry(action, before, after, state=State.DONE, **more):
    return Entry(action, state, "me", "because", before, after, **more)


def promoted(*versions):
    """Promotions of one version after the other."""
    labels = [{}, *({"stable": version} for version in versions)]
    return [entry("promote", before, after) for before, after in zip(labels, labels[1:], strict=False)]


@pytest.fixture
def trail(tmp_path):
    return AuditTrail(tmp_path / "releases.jsonl")


class TestTrail:
    def test_no_file_is_no_entries(self, trail):
        assert trail.entries() == []

    def test_entries_come_back_as_they_were_written_oldest_first(self, trail):
        written = [
            trail.append(entry("canary", {"stable": 1}, {"stable": 1, "canary": 2}, State.BEGUN, undo={"listed": False})),
            trail.append(entry("canary", {"stable": 1}, {"stable": 1, "canary": 2}, servers=("a:1", "b:2"), config_sha256="ab")),
        ]
        assert trail.entries() == written
        assert all(each.at.endswith("+00:00") for each in written)

    def test_it_only_grows(self, trail):
        trail.append(entry("promote", {}, {"stable": 1}))
        before = trail.path.read_bytes()
        trail.append(entry("promote", {"stable": 1}, {"stable": 2}))
        assert trail.path.read_bytes().startswith(before)

    def test_half_a_line_of_a_lost_machine_takes_no_other_line_with_it(self, trail):
        first = trail.append(entry("promote", {}, {"stable": 1}))
        with open(trail.path, "ab") as file:
            file.write(b'{"action": "prom')
        second = trail.append(entry("promote", {"stable": 1}, {"stable": 2}))
        assert trail.entries() == [first, second]

    def test_reasons_in_any_script_stay_readable(self, trail):
        trail.append(Entry("promote", State.DONE, "me", "天气 более точно", {}, {"stable": 1}))
        assert "天气 более точно" in trail.path.read_text(encoding="utf-8")


class TestUnfinished:
    def test_a_change_without_an_end(self):
        begun = entry("promote", {}, {"stable": 1}, State.BEGUN)
        assert unfinished([begun]) == begun
        assert unfinished([begun, entry("promote", {}, {"stable": 1}, State.DONE)]) is None
        assert unfinished([begun, entry("promote", {}, {"stable": 1}, State.FAILED)]) is None
        assert unfinished([]) is None

    def test_a_deletion_afterwards_does_not_hide_it(self):
        begun = entry("promote", {}, {"stable": 1}, State.BEGUN)
        assert unfinished([begun, entry("prune", {}, {})]) == begun


class TestStableHistory:
    def test_promotions_follow_each_other(self):
        assert stable_history(promoted(1, 2, 3)) == [1, 2, 3]

    def test_a_rollback_takes_the_last_one_off_for_good(self):
        entries = [*promoted(1, 2, 3), entry("rollback", {"stable": 3}, {"stable": 2})]
        assert stable_history(entries) == [1, 2]
        assert stable_history([*entries, entry("rollback", {"stable": 2}, {"stable": 1})]) == [1]
        assert stable_history([*entries, entry("promote", {"stable": 2}, {"stable": 4})]) == [1, 2, 4]

    def test_what_was_not_done_and_what_moves_no_stable_label_does_not_count(self):
        entries = [
            *promoted(1),
            entry("promote", {"stable": 1}, {"stable": 2}, State.FAILED),
            entry("promote", {"stable": 1}, {"stable": 3}, State.BEGUN),
            entry("canary", {"stable": 1, "canary": 1}, {"stable": 1, "canary": 4}),
            entry("rollback", {"stable": 1, "canary": 4}, {"stable": 1, "canary": 1}),
        ]
        assert stable_history(entries) == [1]

    def test_a_version_that_returns_by_promotion_is_stable_again(self):
        assert stable_history(promoted(1, 2, 1)) == [1, 2, 1]


def test_somebody_is_responsible():
    assert user()
