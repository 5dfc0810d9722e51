import pytest
from pydantic import ValidationError

from components.errors import EnvironmentFailure
from components.privacy.options import PrivacyOptions, detectors_of
from serving.redaction import ENTITIES, GROUPS, Mode, RedactionRules


class TestRedact:
    def test_a_list_takes_the_defaults(self):
        options = PrivacyOptions(redact=["email", "card"])
        assert set(options.redact) == {"email", "card"}
        assert options.redact["email"].mode == "placeholder"

    def test_a_group_stands_for_what_is_in_it_and_an_entity_keeps_its_own_options(self):
        options = PrivacyOptions(redact={"email": {"mode": "mask"}, "patterns": None})
        assert set(options.redact) == set(ENTITIES)
        assert options.redact["email"].mode == "mask"
        assert options.redact["phone"].mode == "placeholder"
        assert set(PrivacyOptions(redact="national_id").redact) == set(GROUPS["national_id"])

    def test_nothing_is_removed_unless_asked_for(self):
        assert PrivacyOptions().redact == {}

    @pytest.mark.parametrize(
        ("section", "message"),
        [
            ({"redact": ["emial"]}, "nothing finds 'emial'; did you mean 'email'\\? there are: account, "),
            (
                {"redact": {"email": {"detectors": ["card_number"]}}},
                "'card_number' does not find email; its detectors are: email_address",
            ),
            (
                {"redact": {"email": {"mode": "hash"}}},
                "privacy.key must say where the key of hashes is, env:NAME, as email is hashed",
            ),
            ({"redact": {"email": {"mode": "hide"}}}, "'placeholder', 'mask' or 'hash'"),
            ({"redact": ["email"], "key": "hunter2"}, "should match pattern"),
            ({"redact": 5}, "dictionary"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, section, message):
        with pytest.raises(ValidationError, match=message):
            PrivacyOptions(**section)


class TestRules:
    def test_name_every_detector(self):
        rules = PrivacyOptions(redact={"email": {"detectors": ["email_address"]}, "ip": {}}).rules(["text"])
        assert rules.entities["email"].detectors == ("email_address",)
        assert rules.entities["ip"].detectors == ENTITIES["ip"]
        assert rules.columns == ("text",)

    def test_columns_may_be_named(self):
        assert PrivacyOptions(redact=["ip"], columns=("note",)).rules(["text"]).columns == ("note",)

    def test_modes_and_key_are_kept(self):
        rules = PrivacyOptions(redact={"email": {"mode": "hash"}}, key="env:REDACTION_KEY").rules([])
        assert (rules.entities["email"].mode, rules.key) == (Mode.HASH, "env:REDACTION_KEY")

    def test_round_trip(self):
        options = PrivacyOptions(redact={"patterns": {}, "email": {"mode": "hash"}}, key="env:K", columns=("a",))
        assert PrivacyOptions.model_validate_json(options.model_dump_json()) == options
        assert RedactionRules.loads(options.rules([]).dumps()) == options.rules([])


def test_the_key_is_read_from_the_environment(monkeypatch):
    options = PrivacyOptions(redact={"email": {"mode": "hash"}}, key="env:REDACTION_KEY")
    monkeypatch.setenv("REDACTION_KEY", "0123456789abcdef")
    assert options.read_key() == b"0123456789abcdef"
    monkeypatch.delenv("REDACTION_KEY")
    with pytest.raises(EnvironmentFailure, match="privacy.key: hashes need a key .* REDACTION_KEY; received 0. Set the variable"):
        options.read_key()
    assert PrivacyOptions(redact=["email"]).read_key() is None


def test_the_tagger_is_wanted_where_it_looks_for_something():
    assert PrivacyOptions(redact=["person", "email"]).tagged == ("person",)
    assert PrivacyOptions(redact=["patterns"]).tagged == ()
    assert detectors_of("person") == ("tagger",)
