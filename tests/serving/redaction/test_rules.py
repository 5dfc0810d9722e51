import dataclasses
import json
import pickle

import pytest

from serving.redaction import DETECTORS, ENTITIES, GROUPS, DetectorFile, EntityRule, MissingKeyError, Mode, RedactionRules, expand
from serving.redaction.category_rule import CategoryRule

HASHED = {"email": EntityRule(Mode.HASH, ("email_address",))}


class TestRules:
    def test_round_trip(self):
        rules = RedactionRules(
            {**HASHED, "card": EntityRule(Mode.MASK, ENTITIES["card"])}, ("subject", "body"), "env:REDACTION_KEY"
        )
        assert RedactionRules.loads(rules.dumps()) == rules
        assert RedactionRules.from_json(json.loads(json.dumps(rules.to_json()))) == rules
        assert pickle.loads(pickle.dumps(rules)) == rules
        assert RedactionRules.loads(rules.dumps()).sha256() == rules.sha256()

    def test_categories_are_part_of_the_rules(self):
        plain = RedactionRules.of(["email"], ["text"])
        rules = dataclasses.replace(plain, categories={"plan": CategoryRule(("basic",)), "chat": CategoryRule(pseudonym=True)})
        assert RedactionRules.loads(rules.dumps()) == rules
        assert rules.sha256() != plain.sha256()

    def test_those_of_a_model_from_before_categories_are_read(self):
        rules = RedactionRules.of(["email"], ["text"])
        before = {**rules.to_json(), "format": 1}
        del before["categories"]
        assert RedactionRules.from_json(before) == rules

    def test_equal_rules_have_equal_hashes_and_others_do_not(self):
        assert RedactionRules.of(["email", "card"]).sha256() == RedactionRules.of(["card", "email"]).sha256()
        assert RedactionRules.of(["email"]).sha256() != RedactionRules.of(["email"], ["text"]).sha256()
        assert RedactionRules.of(["email"]).sha256() != RedactionRules(HASHED, key="env:KEY").sha256()

    def test_files_count_by_their_content_wherever_they_are(self):
        def rules(path, content):
            return RedactionRules({"x": EntityRule(detectors=("x_words",))}, files={"x_words": DetectorFile(path, content)})

        assert RedactionRules.loads(rules("a.txt", "5f").dumps()) == rules("a.txt", "5f")
        assert rules("a.txt", "5f").sha256() == rules("b/c.txt", "5f").sha256() != rules("a.txt", "60").sha256()

    def test_groups_stand_for_what_is_in_them(self):
        assert expand(["email", "national_id", "email"]) == ("email", *GROUPS["national_id"])
        assert set(RedactionRules.of(["patterns"]).entities) == set(ENTITIES) - {"number"}

    def test_every_detector_finds_something_that_can_be_named(self):
        assert {name for names in ENTITIES.values() for name in names} == set(DETECTORS)

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: RedactionRules.of(["mail"]), "no such kind of personal data: mail; there are: account"),
            (lambda: RedactionRules({"E Mail": EntityRule(detectors=("x",))}), "an entity's name is lower-case"),
            (lambda: RedactionRules({"email": EntityRule()}), "no detector is named for email"),
            (lambda: RedactionRules(HASHED), "hashes need a key; received none for email"),
            (lambda: RedactionRules(HASHED, key="hunter2"), "is not written down itself"),
            (lambda: RedactionRules.from_json({"format": 3}), "JSON of format 1 to 2; received 3"),
            (lambda: RedactionRules.loads(b"[]"), "received 'list'"),
            (lambda: RedactionRules.from_json({"format": 1, "entities": []}), "these are no redaction rules"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


class TestKey:
    def test_is_read_where_the_rules_say(self):
        rules = RedactionRules(HASHED, key="env:REDACTION_KEY")
        assert rules.read_key({"REDACTION_KEY": "0123456789abcdef"}) == b"0123456789abcdef"

    @pytest.mark.parametrize("environment", [{}, {"REDACTION_KEY": "short"}])
    def test_one_that_is_missing_or_can_be_guessed_is_refused(self, environment):
        with pytest.raises(
            MissingKeyError, match="at least 16 bytes in the environment variable REDACTION_KEY; received"
        ) as error:
            RedactionRules(HASHED, key="env:REDACTION_KEY").read_key(environment)
        assert "short" not in str(error.value).split("received")[0]

    def test_without_hashes_none_is_wanted(self):
        assert RedactionRules.of(["email"]).read_key({}) is None
