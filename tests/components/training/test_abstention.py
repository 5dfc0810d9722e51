import numpy as np
import pytest

from components.errors import UsageError
from components.training.abstention import FEWEST_ROWS, choose_threshold, label_index


def choose(scores, correct, target, answerable=None):
    answerable = None if answerable is None else np.array(answerable, bool)
    return choose_threshold(np.array(scores, np.float32), np.array(correct, bool), target, answerable)


class TestChosenThreshold:
    def test_is_the_lowest_that_reaches_the_target(self):
        # From the top: 1/1, 2/2, 2/3, 3/4, 3/5.
        choice = choose([0.5, 0.9, 0.6, 0.8, 0.7], [False, True, True, True, False], 0.75)
        assert choice.threshold == pytest.approx(0.6, abs=1e-6)
        assert (choice.rows, choice.coverage, choice.precision, choice.reached) == (4, 0.8, 0.75, True)

    def test_does_not_part_rows_with_the_same_score(self):
        # Only the right one of the two rows at 0.8 would reach the target.
        choice = choose([0.9, 0.8, 0.8, 0.3], [True, True, False, False], 0.99)
        assert choice.threshold == pytest.approx(0.9, abs=1e-6)
        assert choice.rows == 1

    def test_answers_everything_where_everything_is_good_enough(self):
        choice = choose([0.4, 0.6], [True, True], 1.0)
        assert choice.coverage == 1
        assert choice.threshold <= 0.4

    def test_is_the_same_number_in_float32(self):
        scores = np.random.default_rng(0).random(500)
        threshold = choose(scores, scores > 0.3, 0.95).threshold
        assert float(np.float32(threshold)) == threshold

    def test_never_answers_what_is_no_number_or_not_answerable(self):
        choice = choose([0.9, np.nan, 0.8, 0.7], [True, True, False, True], 0.9, [True, True, False, True])
        assert (choice.rows, choice.coverage, choice.precision) == (2, 0.5, 1.0)

    @pytest.mark.parametrize("seed", range(20))
    def test_agrees_with_trying_every_score(self, seed):
        random = np.random.default_rng(seed)
        scores = random.integers(1, 40, 60) / 64
        correct = random.random(60) < scores
        target = random.uniform(0.3, 0.9)
        good = [score for score in scores if correct[scores >= score].mean() >= target]
        choice = choose(scores, correct, target)
        assert choice.reached == bool(good)
        if good:
            assert choice.threshold == min(good)
        assert choice.rows == (scores >= choice.threshold).sum()
        assert choice.coverage == pytest.approx((scores >= choice.threshold).mean())
        assert choice.precision == pytest.approx(correct[scores >= choice.threshold].mean())


class TestTargetOutOfReach:
    def test_is_said_and_the_best_share_of_enough_rows_taken(self):
        scores = np.linspace(0.9, 0.1, 4 * FEWEST_ROWS)
        correct = np.arange(len(scores)) % 3 != 0
        choice = choose(scores, correct, 0.99)
        assert not choice.reached
        # One more row than asked for is a right one; the row after that is wrong.
        assert choice.rows >= FEWEST_ROWS
        assert choice.precision == max(correct[:rows].mean() for rows in range(FEWEST_ROWS, len(scores) + 1))

    def test_with_few_rows_answers_all(self):
        choice = choose([0.9, 0.8, 0.7], [False, True, True], 0.9)
        assert (choice.reached, choice.rows) == (False, 3)

    def test_without_any_right_answers_as_much_as_possible(self):
        choice = choose(np.linspace(0.1, 0.9, 50), np.zeros(50), 0.5)
        assert (choice.reached, choice.rows, choice.precision) == (False, 50, 0.0)


@pytest.mark.parametrize(("scores", "answerable"), [([], None), ([np.nan], None), ([0.9], [False])])
def test_without_a_row_to_answer_there_is_no_threshold(scores, answerable):
    assert choose(scores, [True] * len(scores), 0.9, answerable) is None


class TestLabelIndex:
    def test_is_its_place(self):
        assert label_index("b", ["a", "b"]) == 1

    @pytest.mark.parametrize(
        ("label", "hint"),
        [("Refund", "Did you mean 'refund'?"), ("zzz", "None of the 2 labels there is similar")],
    )
    def test_of_an_unknown_label_is_an_error(self, label, hint):
        with pytest.raises(UsageError, match=f"received '{label}', which is not there. {hint}"):
            label_index(label, ["refund", "order"])
