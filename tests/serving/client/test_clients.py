"""What all clients do alike: over gRPC, blocking and on an event loop, and over REST."""

import re
import threading
import time

import numpy as np
import pytest

from serving.client import (
    CallRecord,
    ClientError,
    DeadlineExceededError,
    ExampleBuilder,
    InvalidInputError,
    LabelNotFoundError,
    LoadFailedError,
    ModelNotFoundError,
    OverloadedError,
    RetryPolicy,
    ServerError,
    SignatureNotFoundError,
    UnavailableError,
    UnsupportedError,
    VersionNotFoundError,
)
from serving.messages import Example, ModelVersionStatus
from tests.serving.client import fake_server

SECRET = "my card is 4000-1234"
FAST = RetryPolicy(first_backoff=0.005, longest_backoff=0.01)


@pytest.fixture
def client(connect):
    return connect(timeout=10, retry=FAST)


class TestPredict:
    def test_strings_of_a_batch(self, client):
        prediction = client.predict("intents", {"text": ["light on", "weather", "hmm"]})
        assert prediction.model == "intents"
        assert prediction.signature == "serving_default"
        assert prediction.labels == ["light", "weather", "light"]
        np.testing.assert_allclose(prediction.scores, [0.8, 0.8, 0.4], rtol=1e-6)
        assert prediction.abstained.tolist() == [False, False, True]
        assert prediction.top(2)[1] == [("weather", pytest.approx(0.8)), ("light", pytest.approx(0.1))]
        assert prediction["label"].tolist() == [b"light", b"weather", b"light"]
        assert prediction["top_scores"].dtype == np.float32

    @pytest.mark.parametrize("text", ["stop", b"stop", np.array(["stop"]), np.array([b"stop"], object), ("stop",)])
    def test_a_text_in_any_shape_of_python(self, client, text):
        assert client.predict("intents", {"text": text}).labels == ["stop"]

    @pytest.mark.parametrize(
        "values", [[1, 2], [1.0, 2.0], (1, 2), np.array([1, 2]), np.array([1.0, 2.0]), np.array([1, 2], np.int8)]
    )
    def test_numbers_become_the_models_type(self, client, values):
        y = client.predict("half", {"x": values})["y"]
        assert y.dtype == np.float32
        assert y.tolist() == [2.5, 3.0]

    def test_a_scalar_stands_for_every_row(self, client, server):
        server.models["intents"] = {1: fake_server.intents("fare")}
        assert client.predict("intents", {"text": ["stop", "light"], "fare": 3}).labels == ["stop", "light"]
        [fare] = [request.inputs["fare"] for method, request in server.seen if method == "Predict"]
        assert [dim.size for dim in fare.tensor_shape.dim] == [2]

    def test_none_is_absent_to_a_model_of_parlances(self, client, server):
        server.models["intents"] = {1: fake_server.intents("fare")}
        assert client.predict("intents", {"text": ["light", None], "fare": [None, 2.0]}).labels == ["light", "light"]
        if "Rest" not in str(client):
            [request] = [request for method, request in server.seen if method == "Predict"]
            assert request.inputs["text"].string_val[1] == b""

    def test_every_type_and_bytes_that_are_no_text_come_back(self, client):
        sent = {"raw_bytes": [b"\xff\x00", b"ok"], "n": [2**62, -1], "x": [float("nan"), float("inf")]}
        prediction = client.predict("half", sent, signature="echo")
        assert prediction["raw_bytes"].tolist() == sent["raw_bytes"]
        assert prediction["n"].tolist() == sent["n"]
        np.testing.assert_array_equal(prediction["x"], np.array(sent["x"], np.float32))

    def test_only_the_outputs_asked_for(self, client):
        assert set(client.predict("intents", {"text": ["stop"]}, outputs=["score", "label"]).outputs) == {"label", "score"}

    def test_a_version_and_a_label_choose_who_answers(self, client, server):
        server.models["half"][4] = fake_server.half_plus_two()
        server.labels["half", "stable"] = 3
        client.predict("half", {"x": 1.0}, version=3)
        client.predict("half", {"x": 1.0}, label="stable")
        specs = [request.model_spec for method, request in server.seen if method == "Predict"]
        assert [spec.version.value for spec in specs] == [3, 0]
        assert [spec.version_label for spec in specs] == ["", "stable"]
        with pytest.raises(InvalidInputError, match="not both"):
            client.predict("half", {"x": 1.0}, version=3, label="stable")

    def test_threads_share_a_client(self, client):
        failures = []

        def ask():
            try:
                for text in ("light", "stop", "weather") * 5:
                    assert client.predict("intents", {"text": [text]}).labels == [text]
            except BaseException as error:
                failures.append(error)

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures


class TestExamples:
    BUILDER = ExampleBuilder({"text": str, "x": float})

    def test_predicted(self, client):
        prediction = client.predict_examples("intents", [{"text": "stop it"}, {"text": "light"}], builder=self.BUILDER)
        assert prediction.labels == ["stop", "light"]
        assert prediction.signature == "serving_examples"
        assert prediction["classes"].shape == (2, 3)

    def test_classified_by_the_only_signature_that_can(self, client):
        prediction = client.classify("intents", [{"text": "stop it"}, {"text": "hmm"}], builder=self.BUILDER)
        assert prediction.labels == ["stop", "light"]
        np.testing.assert_allclose(prediction.scores, [0.8, 0.4], rtol=1e-6)
        assert prediction.text("classes").tolist() == [list(fake_server.LABELS)] * 2

    def test_regressed(self, client):
        prediction = client.regress("half", [{"x": 2}, {"x": 4.5}], builder=self.BUILDER)
        assert prediction.values.tolist() == [3.0, 4.25]

    def test_an_integer_for_a_float_feature_is_refused_by_the_model_and_made_a_float_by_the_builder(self, client):
        wrong = Example()
        wrong.features.feature["x"].int64_list.value.append(2)
        with pytest.raises(InvalidInputError, match="Data types don't match"):
            client.regress("half", wrong)
        assert client.regress("half", [{"x": 2}], builder=self.BUILDER).values.tolist() == [3.0]

    def test_a_dictionary_without_a_builder_is_refused_with_the_way_out(self, client):
        with pytest.raises(InvalidInputError, match=r"ExampleBuilder.from_schema"):
            client.classify("intents", [{"text": "stop"}])

    def test_a_signature_of_columns_is_not_for_examples(self, client, server):
        server.models["intents"] = {1: fake_server.intents("fare")}
        with pytest.raises(InvalidInputError, match=r"fare \(float \[\?\]\), text \(string \[\?\]\); use predict"):
            client.predict_examples("intents", [Example()], signature="serving_default")


class TestInputsAreCheckedHere:
    def test_names(self, client, server):
        with pytest.raises(InvalidInputError, match=r"takes: text \(string \[\?\]\); missing: text; unknown: message") as refused:
            client.predict("intents", {"message": [SECRET]})
        assert SECRET not in str(refused.value)
        assert server.count("Predict") == 0

    @pytest.mark.parametrize(
        ("values", "received"), [(["1"], "str"), ([None], "None"), ([[1.0], ["a"]], "float, str"), ([2**70, "x"], "int, str")]
    )
    def test_types(self, client, values, received):
        with pytest.raises(InvalidInputError, match=received):
            client.predict("half", {"x": values})

    def test_floats_are_not_cut_to_integers(self, client):
        with pytest.raises(InvalidInputError, match=r"input 'n' takes int64 \[\?\], got float"):
            client.predict("half", {"raw_bytes": [b""], "n": [1.5], "x": [1.0]}, signature="echo")

    def test_half_of_a_surrogate_pair_is_refused_without_the_text(self, client):
        with pytest.raises(InvalidInputError, match="surrogate") as refused:
            client.predict("intents", {"text": [SECRET + "\ud800"]})
        assert refused.value.__cause__ is None
        assert SECRET not in str(refused.value)

    def test_an_unknown_signature_with_those_there_are(self, client):
        with pytest.raises(SignatureNotFoundError, match="it has: serving_default, serving_examples"):
            client.predict("intents", {"text": ["stop"]}, signature="nonsense")

    def test_an_unknown_output(self, client):
        with pytest.raises(InvalidInputError, match="no output 'nonsense'; it has: y"):
            client.predict("half", {"x": [1.0]}, outputs=["nonsense"])

    def test_unless_that_is_switched_off(self, connect, server):
        unchecked = connect(check_inputs=False, timeout=10)
        assert unchecked.predict("intents", {"text": ["stop"]}).labels == ["stop"]
        assert server.count("GetModelMetadata") == 0

    def test_a_server_that_tells_nothing_about_its_models_is_called_all_the_same(self, client, server):
        server.refuse("GetModelMetadata", "UNIMPLEMENTED")
        for _ in range(2):
            assert client.predict("intents", {"text": ["stop"]}).labels == ["stop"]
        assert server.count("GetModelMetadata") == 1


class TestHotSwap:
    def test_metadata_is_fetched_once_for_a_version(self, client, server):
        for _ in range(3):
            client.predict("intents", {"text": ["stop"]})
        assert server.count("GetModelMetadata") == 1

    def test_a_new_version_with_another_column_is_noticed_by_its_refusal(self, client, server):
        client.predict("intents", {"text": ["stop"]})
        server.models["intents"][2] = fake_server.intents("fare")
        with pytest.raises(InvalidInputError, match=r"missing: fare"):
            client.predict("intents", {"text": ["stop"]})
        assert client.predict("intents", {"text": ["stop"], "fare": [3]}).labels == ["stop"]

    def test_a_column_that_the_old_version_did_not_know_is_sent_at_once(self, client, server):
        client.predict("intents", {"text": ["stop"]})
        server.models["intents"][2] = fake_server.intents("fare")
        assert client.predict("intents", {"text": ["stop"], "fare": [3]}).labels == ["stop"]
        assert server.count("Predict") == 2

    def test_a_signature_that_came_with_the_new_version(self, client, server):
        client.predict("half", {"x": [1.0]})
        server.models["half"][4] = fake_server.half_plus_two()
        server.models["half"][4].signatures["twin"] = server.models["half"][4].signatures["serving_default"]
        assert client.predict("half", {"x": [1.0]}, signature="twin")["y"].tolist() == [2.5]

    def test_the_servers_refusal_stands_if_nothing_changed(self, client, server):
        server.refuse("Predict", "INVALID_ARGUMENT", "Matrix size-incompatible: In[0]: [2,4], In[1]: [3,2]")
        with pytest.raises(InvalidInputError, match="Matrix size-incompatible") as refused:
            client.predict("half", {"x": [1.0]})
        assert server.count("Predict") == 1
        assert refused.value.server_text.startswith("Matrix")


class TestErrors:
    @pytest.mark.parametrize("check_inputs", [True, False])
    def test_what_is_not_there(self, connect, check_inputs):
        client = connect(check_inputs=check_inputs, timeout=10)
        with pytest.raises(ModelNotFoundError, match=r"^Servable not found for request: Latest\(nonsense\)$"):
            client.predict("nonsense", {"x": [1.0]})
        with pytest.raises(VersionNotFoundError, match=r"^Servable not found for request: Specific\(half, 7\)$"):
            client.predict("half", {"x": [1.0]}, version=7)
        with pytest.raises(LabelNotFoundError, match=r"^Unrecognized servable version label: canary$"):
            client.predict("half", {"x": [1.0]}, label="canary")
        with pytest.raises(ModelNotFoundError, match="Could not find any versions of model nonsense"):
            client.status("nonsense")
        with pytest.raises(VersionNotFoundError, match="Could not find version 7 of model half"):
            client.status("half", version=7)

    def test_a_signature_the_server_does_not_know(self, connect):
        client = connect(check_inputs=False, timeout=10)
        with pytest.raises(SignatureNotFoundError, match='"nonsense" not found'):
            client.predict("half", {"x": np.float32([1])}, signature="nonsense")

    @pytest.mark.parametrize(
        ("code", "text", "kind"),
        [
            ("INVALID_ARGUMENT", "bad", InvalidInputError),
            ("RESOURCE_EXHAUSTED", "Run() timeout exceeded while waiting in batching queue", OverloadedError),
            ("DEADLINE_EXCEEDED", "too slow", DeadlineExceededError),
            ("UNIMPLEMENTED", "no", UnsupportedError),
            ("INTERNAL", "broken", ServerError),
        ],
    )
    def test_by_code(self, client, server, code, text, kind):
        server.refuse("Predict", code, text)
        with pytest.raises(kind, match=re.escape(text)) as refused:
            client.predict("half", {"x": [1.0]})
        assert refused.value.code == code
        assert refused.value.server_text == text
        assert isinstance(refused.value, ClientError)

    def test_what_was_sent_is_not_in_the_message_even_if_the_server_repeats_it(self, client, server):
        server.refuse("Predict", "INVALID_ARGUMENT", f"cannot read {SECRET} in row 0")
        with pytest.raises(InvalidInputError, match=r"^cannot read \[...\] in row 0$") as refused:
            client.predict("intents", {"text": ["harmless", SECRET]})
        assert SECRET in refused.value.server_text
        assert SECRET not in repr(refused.value)

    def test_nor_what_was_sent_within_a_tf_example(self, client, server):
        server.refuse("Classify", "INVALID_ARGUMENT", f"do not like '{SECRET}'")
        with pytest.raises(InvalidInputError, match=r"^do not like '\[...\]'$"):
            client.classify("intents", [{"text": SECRET}], builder=TestExamples.BUILDER)

    def test_columns_of_different_lengths_are_named_when_the_server_complains(self, client, server):
        server.models["intents"] = {1: fake_server.intents("fare")}
        server.refuse("Predict", "INVALID_ARGUMENT", "indices out of range")
        with pytest.raises(InvalidInputError) as refused:
            client.predict("intents", {"text": ["a b", "c d"], "fare": [1.0]})
        assert refused.value.__notes__ == ["columns have different numbers of rows: text 2, fare 1"]

    def test_a_closed_client_says_so(self, client):
        client.predict("half", {"x": [1.0]})
        client.close()
        with pytest.raises(ClientError, match="closed"):
            client.predict("half", {"x": [1.0]})


class TestRetries:
    def test_an_unavailable_server_is_asked_again(self, client, server):
        client.metadata("half")
        server.refuse("Predict", "UNAVAILABLE", "restarting", times=3)
        assert client.predict("half", {"x": [1.0]})["y"].tolist() == [2.5]
        assert server.count("Predict") == 4

    def test_but_not_for_ever(self, client, server):
        server.refuse("Predict", "UNAVAILABLE", "restarting", times=9)
        with pytest.raises(UnavailableError, match="restarting"):
            client.predict("half", {"x": [1.0]})
        assert server.count("Predict") == 4

    def test_status_is_asked_again_too(self, client, server):
        server.refuse("GetModelStatus", "UNAVAILABLE", times=2)
        assert client.status("half")[0].available

    def test_a_full_queue_is_an_overload(self, client, server):
        text = "The batch scheduling queue to which this task was submitted is full; currently 1 batches enqueued and ..."
        server.refuse("Predict", "UNAVAILABLE", text, times=9)
        with pytest.raises(OverloadedError, match="queue .* is full"):
            client.predict("half", {"x": [1.0]})

    @pytest.mark.parametrize("code", ["INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED"])
    def test_no_other_failure_is_retried(self, client, server, code):
        server.refuse("Predict", code)
        with pytest.raises(ClientError):
            client.predict("half", {"x": [1.0]})
        assert server.count("Predict") == 1

    def test_none_if_they_are_switched_off(self, connect, server):
        client = connect(retry=None, timeout=10)
        server.refuse("Predict", "UNAVAILABLE")
        with pytest.raises(UnavailableError):
            client.predict("half", {"x": [1.0]})
        assert server.count("Predict") == 1

    def test_a_struggling_server_is_not_buried_under_them(self, connect, server):
        client = connect(retry=RetryPolicy(first_backoff=0.005, longest_backoff=0.01, tokens=10), timeout=10)
        client.metadata("half")
        server.refuse("Predict", "UNAVAILABLE", times=1000)
        for _ in range(20):
            with pytest.raises(UnavailableError):
                client.predict("half", {"x": [1.0]})
        # Five failures use up half of the tokens; from then on each call is one attempt.
        assert 20 <= server.count("Predict") <= 27

    def test_the_deadline_holds_for_all_attempts_together(self, connect, server):
        client = connect(retry=RetryPolicy(first_backoff=0.3, longest_backoff=0.3), timeout=10)
        client.metadata("half")
        server.refuse("Predict", "UNAVAILABLE", times=9)
        started = time.monotonic()
        with pytest.raises((DeadlineExceededError, UnavailableError)):
            client.predict("half", {"x": [1.0]}, timeout=0.2)
        assert time.monotonic() - started < 1


class TestDeadlines:
    def test_one_second_unless_told_otherwise(self, connect, server):
        client = connect()
        client.metadata("half")
        server.delay = 3
        started = time.monotonic()
        with pytest.raises(DeadlineExceededError, match="no answer within"):
            client.predict("half", {"x": [1.0]})
        assert 0.8 < time.monotonic() - started < 2.5

    def test_of_one_call(self, client, server):
        client.metadata("half")
        server.delay = 1
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            client.predict("half", {"x": [1.0]}, timeout=0.1)
        assert time.monotonic() - started < 0.9

    def test_fetching_metadata_counts(self, client, server):
        server.delay = 0.2
        with pytest.raises(DeadlineExceededError):
            client.predict("half", {"x": [1.0]}, timeout=0.3)

    @pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1"])
    def test_are_positive_numbers(self, client, timeout):
        with pytest.raises(InvalidInputError, match="positive number of seconds"):
            client.status("half", timeout=timeout)


class TestMetadataAndStatus:
    def test_metadata_names_signatures_inputs_and_outputs(self, client):
        metadata = client.metadata("half")
        assert (metadata.model, metadata.version) == ("half", 3)
        assert list(metadata.signatures) == ["echo", "regress_x", "serving_default"]
        default = metadata.signature(None)
        assert str(default.inputs["x"]) == "float [?]"
        assert default.outputs["y"].shape == (None,)
        assert default.method_name == "tensorflow/serving/predict"

    def test_status_of_all_versions_in_order(self, client, server):
        server.models["half"][10] = fake_server.half_plus_two()
        assert [(status.version, status.state) for status in client.status("half")] == [(3, "AVAILABLE"), (10, "AVAILABLE")]
        assert [status.version for status in client.status("half", version=3)] == [3]


def _status(version, state, code=0, text=""):
    status = ModelVersionStatus(version=version, state=ModelVersionStatus.State.Value(state))
    status.status.error_code, status.status.error_message = code, text
    return status


class TestWaiting:
    def test_until_a_version_is_available(self, client, server):
        server.statuses["half"] = [_status(4, "LOADING")]

        def load():
            server.statuses["half"] = [_status(4, "AVAILABLE"), _status(3, "AVAILABLE")]

        timer = threading.Timer(0.2, load)
        timer.start()
        assert client.wait_until_available("half", timeout=10).version == 4
        timer.join()

    def test_for_a_model_that_is_not_configured_yet(self, client, server):
        versions = server.models.pop("half")
        timer = threading.Timer(0.2, server.models.__setitem__, ("half", versions))
        timer.start()
        assert client.wait_until_available("half", timeout=10).version == 3
        timer.join()

    def test_in_vain_says_what_was_seen_last(self, client, server):
        server.statuses["half"] = [_status(4, "LOADING")]
        with pytest.raises(DeadlineExceededError, match=r"version 4 of model half .* within 0.3 s; .* version 4 is LOADING"):
            client.wait_until_available("half", version=4, timeout=0.3)

    def test_ends_when_the_version_could_not_be_loaded(self, client, server):
        server.statuses["half"] = [_status(4, "END", 3, "no such op")]
        with pytest.raises(LoadFailedError, match="INVALID_ARGUMENT: no such op"):
            client.wait_until_available("half", version=4, timeout=10)


class TestObserver:
    def test_is_told_of_calls_and_nothing_of_their_content(self, connect, server):
        records = []
        client = connect(on_call=records.append, timeout=10)
        client.predict("half", {"x": [1.0]}, version=3)
        server.refuse("Predict", "INVALID_ARGUMENT", "bad")
        with pytest.raises(InvalidInputError):
            client.predict("half", {"x": [1.0]}, version=3, signature="serving_default")
        assert [(record.method, record.code) for record in records] == [
            ("GetModelMetadata", "OK"), ("Predict", "OK"), ("Predict", "INVALID_ARGUMENT"),
        ]  # fmt: skip
        assert set(CallRecord.__slots__) == {
            "method", "model", "version", "label", "signature", "code", "seconds",
        }  # fmt: skip
        assert records[1].version == 3
        assert all(0 < record.seconds < 10 for record in records)

    def test_headers_go_with_every_call(self, connect, server):
        connect(headers={"Authorization": "Bearer token"}, timeout=10).status("half")
        assert server.headers["authorization"] == "Bearer token"
