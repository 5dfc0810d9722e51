import pytest

from components.errors import UsageError
from components.privacy.detector_files import DetectorFile, content_hash, copy, resolved


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "tagger" / "7"
    (folder / "variables").mkdir(parents=True)
    (folder / "assets.extra").mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "variables.index").write_bytes(b"index")
    (folder / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"requests")
    return folder


class TestPath:
    def test_alone_is_enough_and_its_content_is_remembered(self, tmp_path):
        path = tmp_path / "names.txt"
        path.write_text("Ann")
        file = DetectorFile.model_validate(str(path))
        assert file.checked("privacy.x", "Write one") == path
        assert DetectorFile.model_validate_json(file.model_dump_json()) == file
        path.write_text("Bob")
        assert DetectorFile.model_validate(str(path)) != file
        with pytest.raises(UsageError, match="privacy.x: .*names.txt has changed since the pipeline file was read"):
            file.checked("privacy.x", "Write one")

    def test_may_be_of_another_machine_until_it_is_needed(self, tmp_path):
        file = DetectorFile.model_validate(str(tmp_path / "later.txt"))
        assert file.sha256 is None
        with pytest.raises(UsageError, match="privacy.x: there is nothing at .*later.txt. Write one"):
            file.checked("privacy.x", "Write one")

    def test_of_a_folder_of_versions_is_the_newest(self, model):
        older = model.parent / "6"
        older.mkdir()
        (older / "saved_model.pb").write_bytes(b"old")
        (model.parent / "8").mkdir()
        assert resolved(model.parent) == model
        assert DetectorFile.model_validate(str(model.parent)).path == str(model)
        assert resolved(older) == older


def test_a_model_is_what_it_answers_with(model, tmp_path):
    before = content_hash(model)
    (model / "assets.extra" / "tf_serving_warmup_requests").write_bytes(b"others")
    assert content_hash(model) == before
    copy(model, tmp_path / "copied")
    assert content_hash(tmp_path / "copied") == before
    assert not (tmp_path / "copied" / "assets.extra").exists()
    (model / "variables" / "variables.index").write_bytes(b"others")
    assert content_hash(model) != before


def test_a_file_is_copied_as_one(tmp_path):
    (tmp_path / "names.txt").write_text("Ann")
    copy(tmp_path / "names.txt", tmp_path / "there" / "customer_words")
    assert (tmp_path / "there" / "customer_words").read_text() == "Ann"
