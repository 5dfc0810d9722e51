"""A compiled pipeline: names, versions, types of runtime parameters."""

from __future__ import annotations

import pytest

from components.errors import UsageError
from pipeline.kubeflow.package import Package
from tests.pipeline.kubeflow.packages import package_text

PACKAGE = Package.parse(package_text(), "a test")


class TestPackage:
    def test_is_named_by_its_content(self):
        other = Package.parse(package_text(image="other"), "a test")
        assert PACKAGE.name == other.name == "intents"
        assert PACKAGE.version.startswith("intents-")
        assert PACKAGE.version != other.version
        assert PACKAGE.version == Package.parse(package_text(), "another place").version

    def test_values_get_the_types_the_package_declares(self):
        given = {"epochs": "7", "data_path": "5", "rate": "0.5", "cache": "True", "gates": '[{"metric": "accuracy"}]'}
        assert PACKAGE.values(given) == {
            "epochs": 7,
            "data_path": "5",
            "rate": 0.5,
            "cache": True,
            "gates": [{"metric": "accuracy"}],
        }

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"epoch": "7"}, "has no runtime parameter 'epoch'; parameters: cache, data_path, epochs, gates, rate"),
            ({"epochs": "many"}, "epochs is a number; received 'many'"),
            ({"cache": "perhaps"}, "cache is true or false"),
            ({"gates": "accuracy"}, "gates is a JSON list"),
        ],
    )
    def test_refuses_what_does_not_fit(self, given, message):
        with pytest.raises(UsageError, match=message.replace("[", r"\[")):
            PACKAGE.values({"data_path": "x", **given})

    def test_says_which_parameter_has_no_default(self):
        with pytest.raises(UsageError, match="needs a value for data_path: --parameter data_path=VALUE"):
            PACKAGE.values({})

    @pytest.mark.parametrize("text", ["", "[]", "name: intents", "pipelineInfo: {}", "{", "pipelineInfo: {name: x}\nroot: 3"])
    def test_says_what_is_no_package(self, text):
        with pytest.raises(UsageError, match="here is not a compiled pipeline .*parlance kubeflow compile"):
            Package.parse(text, "here")
