import contextlib
import threading
import time

import pytest
from google.protobuf import text_format

from serving.messages import POOL, ModelServerConfig, ModelSpec, ModelVersionStatus, PredictRequest
from serving.redaction import RedactionRules
from serving.server.config import single_model
from serving.server.errors import ServingError, StatusCode
from serving.server.manager import ManagerOptions, ServableManager
from serving.server.metrics import Metrics
from tests.serving.server.fakes import FakeRuntime, x

POLLING = ManagerOptions(poll_seconds=0.02, load_retry_seconds=0.05, max_load_retries=1)
POLICY = "model_version_policy"


@pytest.fixture
def runtime():
    return FakeRuntime()


@pytest.fixture
def push(tmp_path):
    """Pushes a version that multiplies by a factor."""

    def version(number, factor, model="model"):
        made = tmp_path / f".pushing-{model}-{number}"
        made.mkdir()
        (made / "factor").write_text(str(factor))
        (tmp_path / model).mkdir(exist_ok=True)
        made.rename(tmp_path / model / str(number))
        return tmp_path / model

    return version


@pytest.fixture
def managed(runtime):
    """Starts managers that stop with the test."""
    with contextlib.ExitStack() as stack:

        def start(config, options=POLLING, wait=True):
            manager = ServableManager(runtime, options)
            stack.callback(manager.drain_and_stop, 5.0)
            manager.start(config)
            if wait:
                manager.wait_until_available(10.0)
            return manager

        yield start


def config(**models):
    """A ModelServerConfig of base paths and further text by model."""
    texts = [
        f'config {{ name: "{name}" base_path: "{base}" model_platform: "tensorflow" {more} }}'
        for name, (base, more) in models.items()
    ]
    return text_format.Parse(f"model_config_list {{ {' '.join(texts)} }}", ModelServerConfig(), descriptor_pool=POOL)


def spec(name="model", version=None, label=None):
    built = ModelSpec(name=name)
    if version is not None:
        built.version.value = version
    if label is not None:
        built.version_label = label
    return built


def answer(manager, choice=None):
    """What the model makes of 1."""
    choice = choice or spec()
    request = PredictRequest(model_spec=choice)
    request.inputs["x"].CopyFrom(x(1.0))
    with manager.servable(choice) as servable:
        return servable.predict(request).outputs["y"].float_val[0]


def states(manager, name="model"):
    return {status.version: ModelVersionStatus.State.Name(status.state) for status in manager.statuses(name)}


def eventually(holds):
    end = time.monotonic() + 10.0
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


class TestFinding:
    def test_the_highest_version_answers_and_others_by_number(self, managed, push):
        push(1, 10.0)
        base = push(2, 20.0)
        manager = managed(config(model=(base, f"{POLICY} {{ all {{}} }}")))
        eventually(lambda: set(states(manager).values()) == {"AVAILABLE"})
        assert (answer(manager), answer(manager, spec(version=1)), answer(manager, spec(version=2))) == (20.0, 10.0, 20.0)

    @pytest.mark.parametrize(
        ("choice", "code", "message"),
        [
            (None, StatusCode.INVALID_ARGUMENT, "Missing ModelSpec"),
            (ModelSpec(), StatusCode.INVALID_ARGUMENT, "ModelSpec has no name specified."),
            (spec("other"), StatusCode.NOT_FOUND, "Servable not found for request: Latest(other)"),
            (spec(version=7), StatusCode.NOT_FOUND, "Servable not found for request: Specific(model, 7)"),
            (spec(label="stable"), StatusCode.INVALID_ARGUMENT, "Unrecognized servable version label: stable"),
        ],
    )
    def test_refusals(self, managed, push, choice, code, message):
        manager = managed(single_model("model", str(push(1, 10.0))))
        with pytest.raises(ServingError) as raised:
            manager.servable(choice)
        assert (raised.value.code, raised.value.message) == (code, message)

    def test_what_ml_metadata_calls_a_version_is_reported(self, push, runtime):
        told = push(3, 2.0) / "3" / "assets.extra" / "mlmd_uuid"
        told.parent.mkdir()
        told.write_text("f00d\n")
        metrics = Metrics()
        manager = ServableManager(runtime, POLLING, metrics)
        manager.start(single_model("model", str(push(2, 2.0))))
        manager.wait_until_available(10.0)
        manager.drain_and_stop(5.0)
        assert 'mlmd_map{model_name="model",version="3",mlmd_uuid="f00d"} 1' in metrics.prometheus_text()


class TestSwapping:
    def test_a_version_in_use_is_freed_only_after_its_last_user(self, managed, push, runtime):
        base = push(1, 10.0)
        manager = managed(single_model("model", str(base)))
        with manager.servable(spec()):
            push(2, 20.0)
            eventually(lambda: states(manager) == {1: "UNLOADING", 2: "AVAILABLE"})
            assert answer(manager) == 20.0
            assert not runtime.models[str(base / "1")].closed
        eventually(lambda: states(manager) == {1: "END", 2: "AVAILABLE"})
        assert runtime.models[str(base / "1")].closed

    def test_no_caller_ever_meets_a_missing_or_closed_version(self, managed, push):
        manager = managed(single_model("model", str(push(1, 1.0))))
        stop, failures = threading.Event(), []

        def caller():
            while not stop.is_set():
                try:
                    answer(manager)
                except Exception as error:
                    failures.append(error)

        threads = [threading.Thread(target=caller) for _ in range(4)]
        for thread in threads:
            thread.start()
        for number in range(2, 10):
            push(number, float(number))
            eventually(lambda number=number: states(manager).get(number) == "AVAILABLE" and states(manager)[number - 1] == "END")
        stop.set()
        for thread in threads:
            thread.join()
        assert not failures

    def test_a_load_in_progress_holds_up_nobody(self, managed, push, runtime):
        base = push(1, 1.0)
        manager = managed(single_model("model", str(base)))
        runtime.gate.clear()
        push(2, 2.0)
        eventually(lambda: str(base / "2") in runtime.loads)
        assert answer(manager) == 1.0
        assert states(manager) == {1: "AVAILABLE", 2: "LOADING"}
        runtime.gate.set()
        eventually(lambda: answer(manager) == 2.0)


class TestFailures:
    def test_a_load_is_retried_then_given_up_with_its_reason(self, managed, tmp_path, runtime):
        (tmp_path / "model" / "3").mkdir(parents=True)
        manager = managed(single_model("model", str(tmp_path / "model")), wait=False)
        with pytest.raises(ServingError) as raised:
            manager.wait_until_available(10.0)
        assert raised.value.code == StatusCode.UNKNOWN
        assert raised.value.message == (
            "1 servable(s) did not become available: {{name: model version: 3} due to error: "
            f"NOT_FOUND: Could not find SavedModel at {tmp_path / 'model' / '3'}}}, }}"
        )
        assert len(runtime.loads) == 2
        assert manager.statuses("model", 3)[0].status.error_code == StatusCode.NOT_FOUND

    def test_a_model_that_is_not_there_yet_is_waited_for(self, managed, tmp_path, push):
        manager = managed(single_model("model", str(tmp_path / "model")), wait=False)
        with pytest.raises(ServingError, match="in time"):
            manager.wait_until_available(0.1)
        with pytest.raises(ServingError, match="given up"):
            manager.wait_until_available(cancelled=lambda: True)
        push(1, 10.0)
        manager.wait_until_available(10.0)
        assert answer(manager) == 10.0

    @pytest.mark.parametrize(("version", "message"), [(None, "any versions of model absent"), (7, "version 7 of model absent")])
    def test_statuses_of_what_was_never_there(self, managed, push, version, message):
        manager = managed(single_model("model", str(push(1, 10.0))))
        with pytest.raises(ServingError, match=f"Could not find {message}"):
            manager.statuses("absent", version)


class TestReloading:
    def test_new_models_serve_when_it_returns_and_omitted_ones_unload(self, managed, push):
        first, second = push(1, 10.0), push(1, 5.0, "second")
        manager = managed(config(model=(first, "")))
        manager.reload(config(second=(second, "")))
        assert answer(manager, spec("second")) == 5.0
        eventually(lambda: states(manager) == {1: "END"})
        assert manager.models() == ["second"]

    def test_a_request_whose_label_moves_while_it_looks_finds_the_version_the_label_points_to_now(self, managed, push):
        base = push(2, 20)
        manager = managed(single_model("model", str(base)))

        class Moving(dict):
            """Labels that pointed to a version that is gone, the first time they are looked at."""

            def get(self, name, default=None):
                found, self["model"] = self["model"], {"stable": 2}
                return found

        manager._labels = Moving(model={"stable": 1})
        assert answer(manager, spec(label="stable")) == 20.0
        with pytest.raises(ServingError, match=r"Specific\(model, 1\)"):
            answer(manager, spec(version=1))

    def test_labels_move_only_to_versions_that_serve(self, managed, push):
        push(1, 10.0)
        base = push(2, 20.0)
        manager = managed(config(model=(base, f"{POLICY} {{ all {{}} }}")))
        eventually(lambda: set(states(manager).values()) == {"AVAILABLE"})
        for version, expected in ((1, 10.0), (2, 20.0)):
            labels = f'version_labels {{ key: "stable" value: {version} }}'
            manager.reload(config(model=(base, f"{POLICY} {{ all {{}} }} {labels}")))
            assert answer(manager, spec(label="stable")) == expected
        with pytest.raises(ServingError, match="assign label to version 3 of model model, which is not currently available"):
            manager.reload(config(model=(base, 'version_labels { key: "stable" value: 3 }')))
        assert answer(manager, spec(label="stable")) == 20.0

    def test_a_caller_who_gives_up_frees_the_way_for_the_next(self, managed, push, tmp_path):
        base = push(1, 10.0)
        manager = managed(config(model=(base, "")))
        with pytest.raises(ServingError, match="given up"):
            manager.reload(config(model=(base, ""), absent=(tmp_path / "absent", "")), cancelled=lambda: True)
        manager.reload(config(model=(base, "")))
        assert answer(manager) == 10.0


class TestStopping:
    def test_requests_in_progress_finish_and_everything_is_freed(self, push, runtime):
        base = push(1, 10.0)
        manager = ServableManager(runtime, POLLING)
        manager.start(single_model("model", str(base)))
        manager.wait_until_available(10.0)
        handle = manager.servable(spec())
        stopped = []
        thread = threading.Thread(target=lambda: stopped.append(manager.drain_and_stop(10.0)))
        thread.start()
        time.sleep(0.1)
        assert not stopped
        with handle as servable:
            assert servable.run("", {"x": x(2.0)})["y"].array.tolist() == [20.0]
        thread.join()
        assert stopped == [True]
        assert runtime.models[str(base / "1")].closed
        with pytest.raises(ServingError, match="Servable not found"):
            manager.servable(spec())

    def test_a_request_that_never_ends_does_not_keep_it_for_ever(self, push, runtime):
        manager = ServableManager(runtime, POLLING)
        manager.start(single_model("model", str(push(1, 10.0))))
        manager.wait_until_available(10.0)
        with manager.servable(spec()):
            assert not manager.drain_and_stop(0.1)


def test_a_version_removes_what_its_rules_say(runtime, push, managed):
    base = push(1, 2.0)
    made = base / ".pushing-2"
    (made / "assets.extra").mkdir(parents=True)
    (made / "factor").write_text("2.0")
    (made / "assets.extra" / "redaction.json").write_bytes(RedactionRules.of(["email"], ["text"]).dumps())
    made.rename(base / "2")
    manager = managed(config(model=(base, POLICY + " { all {} }")))
    assert manager.redactor("model", 1) is None
    assert manager.redactor("model", 2).text("a@b.org") == "[email]"
    assert manager.redactor("model", 3) is None
    assert manager.redactor("other", 1) is None
