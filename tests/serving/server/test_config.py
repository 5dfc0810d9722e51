import pytest
from google.protobuf import text_format

from serving.messages import ModelServerConfig, SSLConfig
from serving.server.config import (
    ModelSettings,
    VersionPolicy,
    assign_labels,
    model_settings,
    read_text_proto,
    single_model,
)
from serving.server.errors import ServingError, StatusCode


def config(*models, **fields):
    """A config of models given as the text inside `config { }`."""
    listed = " ".join(f"config {{ {model} }}" for model in models)
    return text_format.Parse(f"model_config_list {{ {listed} }}", ModelServerConfig())


def model(name="m", base_path="/models/m", platform='model_platform: "tensorflow"', more=""):
    return f'name: "{name}" base_path: "{base_path}" {platform} {more}'


def refused(function, *arguments, **options):
    with pytest.raises(ServingError) as error:
        function(*arguments, **options)
    return error.value.code, error.value.message


class TestModels:
    def test_are_listed_in_order_with_the_latest_version_by_default(self):
        assert model_settings(config(model("b"), model("a"))) == [
            ModelSettings("b", "/models/m"),
            ModelSettings("a", "/models/m"),
        ]

    def test_one_model_from_flags(self):
        assert model_settings(single_model("intents", "/models/intents")) == [ModelSettings("intents", "/models/intents")]

    @pytest.mark.parametrize(
        ("policy", "expected"),
        [
            ("latest {}", VersionPolicy(1)),
            ("latest { num_versions: 0 }", VersionPolicy(1)),
            ("latest { num_versions: 3 }", VersionPolicy(3)),
            ("all {}", VersionPolicy(0)),
            ("specific { versions: 42 versions: 43 }", VersionPolicy(0, frozenset({42, 43}))),
        ],
    )
    def test_version_policies(self, policy, expected):
        [settings] = model_settings(config(model(more=f"model_version_policy {{ {policy} }}")))
        assert settings.policy == expected

    def test_labels(self):
        labels = "version_labels { key: 'stable' value: 1 } version_labels { key: 'canary' value: 2 }"
        [settings] = model_settings(config(model(more=labels)))
        assert settings.labels == {"stable": 1, "canary": 2}

    def test_an_empty_config_has_none(self):
        assert model_settings(ModelServerConfig()) == []

    @pytest.mark.parametrize("path", ["/models/m", "gs://bucket/m", "file:///models/m"])
    def test_paths_are_absolute_or_uris(self, path):
        assert model_settings(config(model(base_path=path)))[0].base_path == path

    def test_the_deprecated_model_type_still_means_tensorflow(self):
        assert model_settings(config(model(platform="model_type: TENSORFLOW")))[0].platform == "tensorflow"


class TestRefusals:
    """Codes and texts of the stock server."""

    @pytest.mark.parametrize(
        ("models", "message"),
        [
            ([model("m"), model("m")], "Illegal to list model m multiple times in config list"),
            (
                [model(base_path="models/m")],
                "Expected model m to have an absolute path or URI; got base_path()=models/m",
            ),
            ([model(base_path="")], "Expected model m to have an absolute path or URI; got base_path()="),
            (
                [model(platform="")],
                "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform.",
            ),
            (
                [model(platform='model_platform: "tensorflow" model_type: TENSORFLOW')],
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform.",
            ),
            ([model(platform="model_type: OTHER")], "ModelServerConfig::model_type choice 2 not supported."),
            ([model(platform='model_platform: "caffe"')], "Model m requests unsupported platform caffe"),
            ([model(more="logging_config {}")], "No request-logger-creator provided."),
        ],
    )
    def test_a_config_that_cannot_be_served(self, models, message):
        assert refused(model_settings, config(*models)) == (StatusCode.INVALID_ARGUMENT, message)

    def test_a_custom_config(self):
        custom = ModelServerConfig()
        custom.custom_model_config.type_url = "type.googleapis.com/x"
        assert refused(model_settings, custom)[0] == StatusCode.INVALID_ARGUMENT

    def test_a_model_keeps_its_platform(self):
        before = config(model(platform='model_platform: "caffe"'))
        assert refused(model_settings, config(model()), before) == (
            StatusCode.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was caffe and new platform requested is tensorflow",
        )

    def test_a_list_of_models_is_followed_by_another_list_only(self):
        message = "Cannot transition to requested config. It is only legal to transition from one ModelConfigList to another."
        assert refused(model_settings, ModelServerConfig(), config(model())) == (StatusCode.FAILED_PRECONDITION, message)
        assert model_settings(config(model("other")), config(model())) == [ModelSettings("other", "/models/m")]


class TestFiles:
    def test_are_read(self, tmp_path):
        path = tmp_path / "models.config"
        path.write_text(f"model_config_list: {{ config: {{ {model()} }} }}")
        assert model_settings(read_text_proto(path, ModelServerConfig)) == [ModelSettings("m", "/models/m")]

    @pytest.mark.parametrize(
        "content", [b"improperly formatted file!\n", b"model_config_list { config { nme: 1 } }", b"\xff\xfe"]
    )
    def test_with_mistakes_are_refused_by_name_and_explained_in_the_log(self, tmp_path, caplog, content):
        path = tmp_path / "bad.config"
        path.write_bytes(content)
        assert refused(read_text_proto, path, ModelServerConfig) == (
            StatusCode.INVALID_ARGUMENT,
            f"Invalid protobuf file: '{path}'",
        )
        assert "Error parsing text-format tensorflow.serving.ModelServerConfig: " in caplog.text

    def test_that_are_missing_are_not_found(self, tmp_path):
        code, message = refused(read_text_proto, tmp_path / "none", ModelServerConfig)
        assert (code, message) == (StatusCode.NOT_FOUND, f"{tmp_path / 'none'}; No such file or directory")

    def test_of_keys_are_not_quoted(self, tmp_path, caplog):
        path = tmp_path / "ssl.config"
        path.write_text("server_key: PRIVATE-KEY-MATERIAL")
        with pytest.raises(ServingError) as error:
            read_text_proto(path, SSLConfig, secret=True)
        assert "MATERIAL" not in caplog.text
        assert "SSLConfig: 1:13" in caplog.text
        assert error.value.__cause__ is None


class TestLabels:
    LABELLED = (ModelSettings("m", "/m", labels={"stable": 1, "canary": 2}),)

    def assign(self, available, current=None, allow_unavailable=False):
        return assign_labels(self.LABELLED, lambda name, version: (name, version) in available, current or {}, allow_unavailable)

    def test_point_to_versions_that_serve(self):
        assert self.assign({("m", 1), ("m", 2)}) == {"m": {"stable": 1, "canary": 2}}

    def test_for_versions_that_do_not_are_refused(self):
        assert refused(self.assign, {("m", 1)}) == (
            StatusCode.FAILED_PRECONDITION,
            "Request to assign label to version 2 of model m, which is not currently available for inference",
        )

    def test_may_be_new_for_them_where_that_is_allowed(self):
        assert self.assign(set(), allow_unavailable=True) == {"m": {"stable": 1, "canary": 2}}

    def test_never_move_to_them(self):
        current = {"m": {"canary": 1}}
        code, message = refused(self.assign, {("m", 1)}, current, allow_unavailable=True)
        assert code == StatusCode.FAILED_PRECONDITION
        assert "version 2 of model m" in message

    def test_of_models_that_are_gone_are_gone(self):
        assert assign_labels([ModelSettings("m", "/m")], lambda *_: False, {"m": {"stable": 1}}, False) == {}
