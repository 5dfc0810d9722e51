import pytest
from pydantic import ValidationError

from components.errors import EnvironmentFailure, UsageError
from components.privacy.options import TAGGER, PrivacyOptions, detectors_of
from serving.redaction import ENTITIES, GROUPS, Mode, RedactionRules, Redactor


class TestRedact:
    def test_a_list_takes_the_defaults(self):
        options = PrivacyOptions(redact=["email", "card"])
        assert set(options.redact) == {"email", "card"}
        assert options.redact["email"].mode == "placeholder"

    def test_a_group_stands_for_what_is_in_it_and_an_entity_keeps_its_own_options(self):
        options = PrivacyOptions(redact={"email": {"mode": "mask"}, "patterns": None})
        assert set(options.redact) == set(GROUPS["patterns"])
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
            (
                {"redact": ["person"]},
                "privacy.tagger must say where the tagger is that finds person. `parlance run .*tagger.yaml`",
            ),
            ({"redact": ["customer"]}, "nothing finds 'customer'; .*another name needs a list: {customer: {words: FILE}}"),
            ({"redact": {"customer": {"words": {"file": "x"}}}}, "words"),
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


class TestTagger:
    def test_is_wanted_where_it_looks_for_something(self, tmp_path):
        options = PrivacyOptions(redact=["person", "email"], tagger=str(tmp_path))
        assert options.tagged == ("person",)
        assert options.rules(["text"]).files[TAGGER].path == str(tmp_path)
        assert PrivacyOptions(redact=["patterns"]).tagged == ()
        assert detectors_of("person") == (TAGGER,)

    def test_is_not_loaded_where_nothing_needs_it(self, tmp_path):
        options = PrivacyOptions(redact=["email"], tagger=str(tmp_path / "none"))
        assert options.detectors() == []
        assert options.rules([]).files == {}

    def test_one_that_is_not_there_is_the_users_to_train(self, tmp_path):
        options = PrivacyOptions(redact=["person"], tagger=str(tmp_path / "none"))
        with pytest.raises(
            UsageError, match="privacy.tagger: there is nothing at .*none. `parlance run .*tagger.yaml` trains one"
        ):
            options.detectors()


class TestWords:
    @pytest.fixture
    def path(self, tmp_path):
        path = tmp_path / "customers.txt"
        path.write_text("Acme Rockets\n")
        return str(path)

    def test_give_an_entity_of_any_name(self, path):
        options = PrivacyOptions(redact={"customer": {"words": path}, "email": {}})
        rules = options.rules(["text"])
        assert rules.entities["customer"].detectors == ("customer_words",)
        assert rules.files["customer_words"].path == path
        assert PrivacyOptions.model_validate_json(options.model_dump_json()) == options
        redactor = Redactor(rules, detectors=options.detectors())
        assert redactor.redact("ACME rockets: a@b.org") == "[customer]: [email]"

    def test_join_the_other_detectors_of_an_entity_or_replace_them(self, path):
        both = PrivacyOptions(redact={"person": {"words": path}}, tagger="serving/tagger")
        assert both.rules([]).entities["person"].detectors == (TAGGER, "person_words")
        alone = PrivacyOptions(redact={"person": {"words": path, "detectors": ["person_words"]}})
        assert alone.tagged == ()
        assert [detector.name for detector in alone.detectors()] == ["person_words"]

    def test_another_list_is_another_configuration(self, path):
        before = PrivacyOptions(redact={"customer": {"words": path}})
        with open(path, "a") as file:
            file.write("Umbrella\n")
        after = PrivacyOptions(redact={"customer": {"words": path}})
        assert before != after
        assert before.rules([]).sha256() != after.rules([]).sha256()

    def test_an_empty_list_is_refused(self, path):
        with open(path, "w"):
            pass
        with pytest.raises(UsageError, match="privacy.redact.customer.words: .* received none for customer"):
            PrivacyOptions(redact={"customer": {"words": path}}).detectors()
