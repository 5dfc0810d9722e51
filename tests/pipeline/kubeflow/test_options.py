"""The sections `kubeflow:` and `schedule:`."""

import pydantic
import pytest

from components.errors import UsageError
from pipeline import config
from pipeline.kubeflow import options

DIGEST = "parlance@sha256:" + "0" * 64


def kubeflow(**values):
    return options.KubeflowOptions.model_validate(values)


def schedule(**values):
    return options.ScheduleOptions.model_validate(values)


class TestKubeflow:
    def test_the_defaults_fit_the_manifests_that_ship_with_it(self):
        section = kubeflow()
        assert section.root == "/parlance"
        assert section.metadata.url == "mysql://parlance@parlance-mysql:3306/parlance"

    def test_what_a_node_gives_wins_over_the_defaults(self):
        section = kubeflow(
            defaults={"cpu": 1, "memory": "1Gi", "retries": 1}, nodes={"Trainer": {"memory": "8Gi", "gpu": {}, "image": DIGEST}}
        )
        trainer, other = section.of("Trainer"), section.of("Transform")
        assert (trainer.cpu, trainer.memory, trainer.gpu.count, trainer.image, trainer.retries) == ("1", "8Gi", 1, DIGEST, 1)
        assert (other.cpu, other.memory, other.gpu, other.image) == ("1", "1Gi", None, None)

    def test_a_gate_is_not_asked_twice_unless_the_file_says_so(self):
        assert kubeflow().of("DataGate").retries == 0
        assert kubeflow().of("Trainer").retries == 2
        assert kubeflow(defaults={"retries": 1}).of("DataGate").retries == 1
        assert kubeflow(nodes={"DataGate": {"retries": 3}}).of("DataGate").retries == 3

    def test_a_node_has_the_main_volume_and_its_own(self):
        section = kubeflow(nodes={"ExampleGen": {"volumes": [{"claim": "data", "mount": "/data"}]}})
        assert [volume.mount for volume in section.volumes_of("ExampleGen")] == ["/parlance", "/data"]
        assert [volume.mount for volume in section.volumes_of("Trainer")] == ["/parlance"]

    def test_a_bucket_needs_no_volume(self):
        assert kubeflow(volume=None, pipeline_root="gs://bucket/parlance/").root == "gs://bucket/parlance"

    def test_a_parameter_may_be_just_a_setting(self):
        assert kubeflow(parameters={"seed": "model.seed"}).parameters["seed"].setting == "model.seed"

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"nodes": {"Trainr": {}}}, "no node 'Trainr'; did you mean Trainer. nodes: SchemaImport, ExampleGen"),
            (
                {"pipeline_root": "s3://bucket/a"},
                r"cannot be on s3://, because TensorFlow 2.21.*Mount the bucket.*received 's3://bucket/a'",
            ),
            ({"pipeline_root": "minio://mlpipeline/a"}, "cannot be on minio://"),
            ({"pipeline_root": "parlance"}, "absolute path on a mounted volume, or on gs://; received 'parlance'"),
            ({"pipeline_root": "/data/a"}, "every step mounts.*received '/data/a'; mounts: /parlance"),
            ({"pipeline_root": "/parlancer"}, "mounts: /parlance"),
            ({"volume": None}, "without a volume, pipeline_root must be given"),
            ({"defaults": {"memory": "8GB"}}, "memory"),
            ({"defaults": {"cpu": "two"}}, "cpu"),
            ({"defaults": {"retries": -1}}, "retries"),
            ({"nodes": {"Trainer": {"secrets": [{"name": "a", "key": "b", "env": "1X"}]}}}, "env"),
            ({"nodes": {"Trainer": {"secrets": [{"name": "a", "key": "b", "value": "hunter2", "env": "X"}]}}}, "value"),
            (
                {"nodes": {"Trainer": {"secrets": [{"name": "a", "key": "b", "env": options.METADATA_PASSWORD}]}}},
                "set from kubeflow.metadata.secret",
            ),
            (
                {"defaults": {"secrets": [{"name": "a", "key": "b", "env": "X"}, {"name": "a", "key": "c", "env": "X"}]}},
                "the variable X is given twice",
            ),
            (
                {"defaults": {"volumes": [{"claim": "a", "mount": "/d"}, {"claim": "b", "mount": "/d"}]}},
                "the mount /d is given twice",
            ),
            ({"defaults": {"tolerations": [{"key": "gpu", "operator": "Exists", "value": "x"}]}}, "Exists has no value"),
            ({"defaults": {"tolerations": [{"effect": "NoSchedule"}]}}, "without a key has operator: Exists"),
            ({"metadata": {"secret": "password"}}, "secret"),
            ({"metadata": {"host": "user:password@db"}}, "host"),
            ({"parameters": {"Seed": "model.seed"}}, "received 'Seed'"),
            ({"parameters": {"run_id": "model.seed"}}, "is not run_id"),
            ({"parameters": {"seed": {"setting": "model.seed", "default": "a"}}}, "choices and default go together"),
            (
                {"parameters": {"gates": {"setting": "evaluation.gates", "choices": {"a": []}, "default": "b"}}},
                "default 'b' is no choice; choices: a",
            ),
        ],
    )
    def test_mistakes_say_what_to_do(self, values, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            kubeflow(**values)

    def test_the_pipeline_file_refuses_them_when_it_is_read(self):
        with pytest.raises(UsageError, match="kubeflow: pipeline_root cannot be on s3://"):
            config.load(config.DEFAULT, ["kubeflow.pipeline_root=s3://bucket"])

    def test_where_a_pipeline_runs_is_not_part_of_what_it_makes(self):
        plain = config.load(config.DEFAULT).sha256()
        moved = ["kubeflow.nodes.Trainer={cpu: 4}", "schedule={interval: 1d}", "beam.args=[--direct_num_workers=2]"]
        assert config.load(config.DEFAULT, moved).sha256() == plain


class TestSchedule:
    @pytest.mark.parametrize(
        "cron", ["0 30 2 * * *", "0 */15 * * * ?", "0 0 6 1,15 * *", "0 0 9 * JAN-MAR mon-fri", "  0   0 0 * *  0 "]
    )
    def test_six_fields(self, cron):
        assert len(schedule(cron=cron).cron.split(" ")) == 6

    @pytest.mark.parametrize(("interval", "seconds"), [("90s", 90), ("15m", 900), ("6h", 21600), ("1d", 86400)])
    def test_intervals(self, interval, seconds):
        assert schedule(interval=interval).interval_seconds == seconds

    def test_one_run_at_a_time_and_no_catching_up_unless_asked_for(self):
        section = schedule(interval="1h")
        assert (section.catchup, section.max_concurrency, section.enabled) == (False, 1, True)

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            ({"cron": "30 2 * * *"}, r"the first is the second: write '0 30 2 \* \* \*'; received '30 2 \* \* \*'"),
            ({"cron": "0 30 2 * * * 2030"}, "six fields: second minute hour day month weekday"),
            ({"cron": "0 60 2 * * *"}, "the field minute of cron holds numbers from 0 to 59.*received '60'"),
            ({"cron": "0 30 2 0 * *"}, "the field day"),
            ({"cron": "0 30 5-2 * * *"}, "the field hour"),
            ({"cron": "0 30 2 * */0 *"}, "the field month"),
            ({"cron": "0 30 2 * * 7"}, "the field weekday"),
            ({"interval": "daily"}, "a number with s, m, h or d, e.g. 6h; received 'daily'"),
            ({"interval": "0m"}, "received '0m'"),
            ({}, "exactly one of cron and interval"),
            ({"cron": "0 0 0 * * *", "interval": "1d"}, "exactly one of cron and interval"),
            ({"interval": "1d", "start": "2030-01-01T00:00:00"}, "start needs a time zone"),
            ({"interval": "1d", "start": "2030-01-02T00:00:00Z", "end": "2030-01-01T00:00:00Z"}, "start must be before end"),
            ({"interval": "1d", "max_concurrency": 11}, "max_concurrency"),
        ],
    )
    def test_mistakes_say_what_to_do(self, values, message):
        with pytest.raises(pydantic.ValidationError, match=message):
            schedule(**values)
