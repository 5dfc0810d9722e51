import pytest
from ml_metadata.proto import metadata_store_pb2

from components.errors import UsageError
from pipeline.kubeflow import metadata_url, options


def test_mysql_with_the_password_of_the_environment():
    config = metadata_url.parse("mysql://parlance@db.kubeflow:3307/runs", {options.METADATA_PASSWORD: "p@ss/word"})
    assert config.WhichOneof("config") == "mysql"
    assert (config.mysql.host, config.mysql.port, config.mysql.database) == ("db.kubeflow", 3307, "runs")
    assert (config.mysql.user, config.mysql.password) == ("parlance", "p@ss/word")


def test_what_the_pipeline_file_says_can_be_read():
    config = metadata_url.parse(options.MetadataOptions().url, {})
    assert (config.mysql.host, config.mysql.port, config.mysql.user) == ("parlance-mysql", 3306, "parlance")


def test_the_usual_port_may_be_left_out():
    assert metadata_url.parse("mysql://parlance@db/runs", {}).mysql.port == 3306


def test_sqlite_is_made_where_it_is_not():
    config = metadata_url.parse("sqlite:///tmp/metadata.db", {})
    assert config.sqlite.filename_uri == "/tmp/metadata.db"
    assert config.sqlite.connection_mode == metadata_store_pb2.SqliteMetadataSourceConfig.READWRITE_OPENCREATE


@pytest.mark.parametrize(
    "url", ["", "parlance", "mysql://db/runs", "mysql://parlance@db", "mysql://parlance@db/", "sqlite://tmp/x", "mysql://a@b/c/d"]
)
def test_another_form_is_refused_with_the_right_ones(url):
    with pytest.raises(UsageError, match="mysql://USER@HOST:PORT/DATABASE"):
        metadata_url.parse(url, {})


def test_postgresql_is_refused_with_the_reason():
    with pytest.raises(UsageError, match="PostgreSQL is not an option"):
        metadata_url.parse("postgresql://parlance@db/runs", {})


def test_a_password_does_not_belong_there_and_is_not_repeated():
    with pytest.raises(UsageError, match=options.METADATA_PASSWORD) as refused:
        metadata_url.parse("mysql://parlance:geheim@db/runs", {})
    assert "geheim" not in str(refused.value)
