import collections
import random

import pytest

from serving.client import label_for

KEYS = [f"user-{number}" for number in range(20_000)]


class TestShares:
    @pytest.mark.parametrize("share", [0.01, 0.05, 0.5, 0.9])
    def test_a_label_gets_its_share_of_keys(self, share):
        hits = sum(label_for(key, {"canary": share}) == "canary" for key in KEYS)
        # Five standard deviations of a fair draw.
        assert abs(hits - share * len(KEYS)) < 5 * (share * (1 - share) * len(KEYS)) ** 0.5

    def test_several_labels(self):
        counts = collections.Counter(label_for(key, {"canary": 0.1, "shadow": 0.3}) for key in KEYS)
        assert counts["canary"] == pytest.approx(2000, abs=220)
        assert counts["shadow"] == pytest.approx(6000, abs=330)
        assert counts["stable"] == pytest.approx(12000, abs=350)

    @pytest.mark.parametrize(("share", "label"), [(0, "stable"), (1, "canary"), (1.0, "canary")])
    def test_none_and_all(self, share, label):
        assert {label_for(key, {"canary": share}) for key in KEYS[:1000]} == {label}

    def test_ten_tenths_are_one(self):
        shares = {str(number): 0.1 for number in range(10)}
        assert {label_for(key, shares) for key in KEYS[:1000]} == set(shares)

    @pytest.mark.parametrize("shares", [{"canary": -0.1}, {"canary": 1.1}, {"a": 0.6, "b": 0.5}, {"canary": float("nan")}])
    def test_must_be_shares(self, shares):
        with pytest.raises(ValueError, match="shares must"):
            label_for("user-1", shares)

    def test_the_rest_has_no_share_of_its_own(self):
        with pytest.raises(ValueError, match="'stable' gets what the other shares leave"):
            label_for("user-1", {"stable": 0.5})


class TestStability:
    def test_raising_a_share_never_moves_a_key_out_of_its_label(self):
        inside = set()
        for share in (0, 0.001, 0.01, 0.05, 0.2, 0.5, 0.99, 1):
            now = {key for key in KEYS[:5000] if label_for(key, {"canary": share, "shadow": min(0.1, 1 - share)}) == "canary"}
            assert inside <= now
            inside = now

    def test_other_labels_lose_keys_to_it_only(self):
        before = {key: label_for(key, {"canary": 0.05, "shadow": 0.1}) for key in KEYS}
        after = {key: label_for(key, {"canary": 0.2, "shadow": 0.1}) for key in KEYS}
        lost = {key: after[key] for key in KEYS if before[key] == "shadow" and after[key] != "shadow"}
        assert set(lost.values()) == {"canary"}

    def test_labels_in_another_order_choose_alike(self):
        for key in random.Random(0).sample(KEYS, 500):
            assert label_for(key, {"a": 0.2, "b": 0.3}) == label_for(key, {"b": 0.3, "a": 0.2})

    def test_a_salt_draws_other_keys(self):
        first, second = ({key for key in KEYS if label_for(key, {"canary": 0.1}, salt=salt) == "canary"} for salt in ("", "2"))
        assert len(first & second) == pytest.approx(0.01 * len(KEYS), abs=80)

    def test_bytes_and_text_are_the_same_key(self):
        assert all(label_for(key, {"canary": 0.5}) == label_for(key.encode(), {"canary": 0.5}) for key in KEYS[:200])

    def test_the_algorithm_is_fixed(self):
        # Services in other languages choose by the same formula: these must never change.
        canaries = [key for key in KEYS[:60] if label_for(key, {"canary": 0.1}) == "canary"]
        assert canaries == ["user-0", "user-21", "user-32", "user-33", "user-58"]
