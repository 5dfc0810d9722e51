"""The model config file: its bytes, what it refuses, and the order of files when labels move."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest
from google.protobuf import text_format

from serving.messages import ModelServerConfig
from serving.model_config import model_config, phases
from serving.server.config import ModelSettings, VersionPolicy, assign_labels, model_settings
from serving.server.errors import ServingError, StatusCode


def intents(*versions, path="/models/intents", **labels):
    return ModelSettings("intents", path, VersionPolicy(0, frozenset(versions)) if versions else VersionPolicy(), labels)


def read(text):
    return model_settings(text_format.Parse(text, ModelServerConfig()))


class TestModelConfig:
    def test_golden(self):
        assert model_config([intents(8, 7, stable=7, canary=8)]) == (
            """\
model_config_list {
  config {
    name: "intents"
    base_path: "/models/intents"
    model_platform: "tensorflow"
    model_version_policy {
      specific {
        versions: 7
        versions: 8
      }
    }
    version_labels {
      key: "canary"
      value: 8
    }
    version_labels {
      key: "stable"
      value: 7
    }
  }
}
"""
        )

    def test_order_makes_no_difference(self):
        models = [intents(3, 11, stable=3, canary=11), ModelSettings("taxi", "gs://bucket/taxi", VersionPolicy(2))]
        assert model_config(models) == model_config(models[::-1])
        assert model_config([intents(11, 3, canary=11, stable=3), models[1]]) == model_config(models)

    @pytest.mark.parametrize(
        "model",
        [
            intents(),
            intents(5),
            intents(7, 8, stable=7, canary=8, beta=8),
            ModelSettings("all", "/models/all", VersionPolicy(0)),
            ModelSettings("newest", "s3://bucket/newest", VersionPolicy(3)),
            ModelSettings('named "so"\nüber', "/models/ü"),
        ],
    )
    def test_the_server_reads_what_was_meant(self, model):
        assert read(model_config([model])) == [model]

    def test_no_models(self):
        assert read(model_config([])) == []

    @pytest.mark.parametrize(
        ("models", "message"),
        [
            ([intents(7), intents(8)], "Illegal to list model intents multiple times in config list"),
            (
                [intents(7, path="models/intents")],
                "Expected model intents to have an absolute path or URI; got base_path()=models/intents",
            ),
            ([ModelSettings("", "/models/x")], "Expected a name for the model in /models/x"),
            (
                [intents(7, stable=8)],
                "Expected label 'stable' of model intents to point to a version that is loaded by its number; "
                "got version 8, and the versions to load are 7",
            ),
            (
                [intents(stable=8)],
                "Expected label 'stable' of model intents to point to a version that is loaded by its number; "
                "got version 8, and the versions to load are the latest or all",
            ),
            (
                [ModelSettings("intents", "/models/intents", VersionPolicy(0, frozenset()))],
                "Expected versions to load of model intents, got none; a server would wait for one forever",
            ),
        ],
    )
    def test_refusals(self, models, message):
        with pytest.raises(ServingError) as caught:
            model_config(models)
        assert (caught.value.code, caught.value.message) == (StatusCode.INVALID_ARGUMENT, message)


class TestPhases:
    def test_a_first_release_is_loaded_then_labelled(self):
        wanted = intents(7, stable=7)
        assert phases([], [wanted]) == [[intents(7)], [wanted]]

    def test_a_canary_is_loaded_then_labelled(self):
        wanted = intents(7, 8, stable=7, canary=8)
        assert phases([intents(7, stable=7)], [wanted]) == [[intents(7, 8, stable=7)], [wanted]]

    def test_a_promotion_moves_the_label_and_lets_go_in_one_file(self):
        served = intents(7, 8, stable=7, canary=8)
        assert phases([served], [intents(8, stable=8)]) == [[intents(8, stable=8)]]

    def test_a_rollback_of_a_canary(self):
        assert phases([intents(7, 8, stable=7, canary=8)], [intents(7, stable=7)]) == [[intents(7, stable=7)]]

    def test_a_label_that_moves_to_what_is_not_loaded_waits_on_the_old_version(self):
        assert phases([intents(7, stable=7)], [intents(8, stable=8)]) == [[intents(7, 8, stable=7)], [intents(8, stable=8)]]

    def test_from_the_latest_version_to_labels(self):
        assert phases([intents()], [intents(7, stable=7)]) == [[intents(7)], [intents(7, stable=7)]]

    def test_nothing_to_do(self):
        assert phases([intents(7, stable=7)], [intents(7, stable=7)]) == []

    def test_without_labels_one_file_does(self):
        assert phases([intents(7)], [intents(8)]) == [[intents(8)]]
        assert phases([intents(7, stable=7)], [intents()]) == [[intents()]]

    def test_other_models_stay_until_the_end(self):
        taxi = ModelSettings("taxi", "/models/taxi")
        assert phases([intents(7, stable=7), taxi], [intents(8, stable=8)]) == [
            [intents(7, 8, stable=7), taxi],
            [intents(8, stable=8)],
        ]

    def test_wrong_models_are_refused(self):
        with pytest.raises(ServingError, match="point to a version"):
            phases([], [intents(7, stable=8)])

    @pytest.mark.parametrize(
        ("before", "after"),
        itertools.permutations(
            [
                intents(),
                intents(1),
                intents(1, stable=1),
                intents(1, 2, stable=1, canary=2),
                intents(2, stable=2),
                intents(2, 3, stable=2, canary=3),
                intents(1, 2, 3, stable=3, canary=1),
            ],
            2,
        ),
    )
    def test_a_server_takes_every_file_and_no_label_is_ever_cut_off(self, before, after):
        """Plays the files to a server as upstream is one: labels are looked at first, then versions are loaded and unloaded."""
        on_disk = [1, 2, 3]
        loaded = set(before.policy.wanted(on_disk))
        labels = assign_labels([before], lambda _, version: version in loaded, {}, False)
        for models in phases([before], [after]):
            [model] = read(model_config(models))
            labels = assign_labels([model], lambda _, version, loaded=loaded: version in loaded, labels, False)
            loaded = set(model.policy.wanted(on_disk))
            assert set(labels.get("intents", {}).values()) <= loaded
        assert (loaded, labels.get("intents", {})) == (set(after.policy.wanted(on_disk)), after.labels)


def test_importing_needs_neither_tensorflow_nor_grpc():
    program = "import sys, serving.model_config; print(sorted({'tensorflow', 'grpc', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
