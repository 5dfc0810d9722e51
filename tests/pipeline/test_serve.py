"""What `parlance serve` serves of a root: what models.config says, and the newest version of everything else."""

import pytest

from components.errors import UsageError
from pipeline import cli, serve
from serving.server.config import ModelSettings, VersionPolicy, model_settings
from serving.server.errors import ServingError
from tests.components.release import released


def served(root):
    return model_settings(serve.model_config((root / "serving").resolve()))


class TestModelConfig:
    def test_without_a_file_every_model_in_its_newest_version(self, tmp_path):
        released.release(tmp_path)
        released.release(tmp_path, model="taxi")
        (tmp_path / "serving" / "empty").mkdir()
        base = tmp_path / "serving"
        assert served(tmp_path) == [ModelSettings("intents", str(base / "intents")), ModelSettings("taxi", str(base / "taxi"))]

    def test_a_file_that_appears_later_counts_and_so_does_a_model_it_does_not_list(self, tmp_path):
        number = released.release(tmp_path)
        [model] = served(tmp_path)
        pinned = ModelSettings(model.name, model.base_path, VersionPolicy(0, frozenset({number})), {"stable": number})
        released.folder(tmp_path).write([pinned])
        assert served(tmp_path) == [pinned]
        released.release(tmp_path, model="taxi")
        assert served(tmp_path) == [pinned, ModelSettings("taxi", str(tmp_path / "serving" / "taxi"))]

    def test_nothing_released_is_nothing_served(self, tmp_path):
        assert served(tmp_path) == []

    def test_a_file_that_cannot_be_read_is_no_empty_file(self, tmp_path):
        released.release(tmp_path)
        (tmp_path / "serving" / "models.config").write_text("model_config_list {")
        with pytest.raises(ServingError, match="Invalid protobuf file"):
            served(tmp_path)


class TestStart:
    def test_without_a_model_says_how_to_get_one(self, tmp_path, capsys):
        assert cli.main(["serve", "--root", str(tmp_path)]) == 2
        assert "`parlance run` releases one" in capsys.readouterr().err

    def test_with_a_broken_file_says_which(self, tmp_path, capsys):
        released.release(tmp_path)
        (tmp_path / "serving" / "models.config").write_text("model_config_list {")
        assert cli.main(["serve", "--root", str(tmp_path)]) == 2
        assert "models.config" in capsys.readouterr().err

    def test_a_wrong_flag_is_the_users(self, tmp_path):
        released.release(tmp_path)
        options = cli._parser().parse_args(["serve", "--root", str(tmp_path), "--", "--enable_baching"])
        with pytest.raises(UsageError, match="Unknown flag: --enable_baching; did you mean --enable_batching"):
            serve.run(options)
