import pytest

from components.errors import UsageError
from components.privacy import model_rules
from components.privacy.options import PrivacyOptions
from serving.redaction import FILE, RedactionRules
from serving.redaction.category_rule import CategoryRule
from serving.redaction.requests import RequestRedactor


def test_what_training_ships_serving_reads(tmp_path):
    rules = RedactionRules.of(["email", "card"], ["text"])
    assert model_rules.ship(rules.to_json(), tmp_path)
    assert RequestRedactor.load(tmp_path).rules == rules


@pytest.mark.parametrize("rules", [RedactionRules({}, ("text",)), RedactionRules.of(["email"])])
def test_rules_that_remove_nothing_are_not_shipped(tmp_path, rules):
    assert not model_rules.ship(rules.to_json(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_rules_for_categories_alone_are_shipped(tmp_path):
    rules = PrivacyOptions(redact=["email"]).rules([], {"plan": CategoryRule()})
    assert model_rules.ship(rules.to_json(), tmp_path)
    assert RequestRedactor.load(tmp_path).columns({"plan": "a@b.org"}) == {"plan": "[email]"}


def test_what_detectors_are_made_from_travels_with_the_model(tmp_path):
    words, tagger = tmp_path / "customers.txt", tmp_path / "tagger" / "7"
    words.write_text("Acme Rockets\n")
    tagger.mkdir(parents=True)
    (tagger / "saved_model.pb").write_bytes(b"graph")
    options = PrivacyOptions(redact={"customer": {"words": str(words)}, "person": {}}, tagger=str(tagger.parent))
    rules = options.rules(["text"])
    model = tmp_path / "model"
    assert model_rules.ship(rules.to_json(), model)

    shipped = RedactionRules.loads((model / FILE).read_bytes())
    assert shipped.files["tagger"].path == "tagger"
    assert shipped.sha256() == rules.sha256()
    assert (model / "assets.extra" / "tagger" / "saved_model.pb").read_bytes() == b"graph"
    # Where the model was trained is nobody's business there.
    assert str(tmp_path).encode() not in (model / FILE).read_bytes()

    words.write_text("Umbrella\n")
    with pytest.raises(UsageError, match="privacy: customer_words: .* has changed since the pipeline file was read"):
        model_rules.ship(rules.to_json(), model)


def test_a_shipped_word_list_is_read_with_the_rules(tmp_path):
    words = tmp_path / "customers.txt"
    words.write_text("Acme Rockets\n")
    model_rules.ship(PrivacyOptions(redact={"customer": {"words": str(words)}}).rules(["text"]).to_json(), tmp_path / "model")
    words.unlink()
    assert RequestRedactor.load(tmp_path / "model").columns({"text": ["acme rockets"]}) == {"text": ["[customer]"]}
