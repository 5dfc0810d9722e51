import pytest

from components.privacy import model_rules
from serving.redaction import RedactionRules
from serving.redaction.requests import RequestRedactor


def test_what_training_ships_serving_reads(tmp_path):
    rules = RedactionRules.of(["email", "card"], ["text"])
    assert model_rules.ship(rules.to_json(), tmp_path)
    assert RequestRedactor.load(tmp_path).rules == rules


@pytest.mark.parametrize("rules", [RedactionRules({}, ("text",)), RedactionRules.of(["email"])])
def test_rules_that_remove_nothing_are_not_shipped(tmp_path, rules):
    assert not model_rules.ship(rules.to_json(), tmp_path)
    assert not list(tmp_path.iterdir())
