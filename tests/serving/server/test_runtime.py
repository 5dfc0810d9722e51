import concurrent.futures
import pathlib
import resource
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from serving import tensors
from serving.messages import DataType, Example, TensorProto
from serving.server.errors import MalformedTensorError, ServingError, StatusCode
from serving.server.runtime import LoadOptions, TensorFlowRuntime
from serving.tensors import Tensor

PROJECT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def runtime():
    return TensorFlowRuntime.load_library()


@pytest.fixture(scope="module")
def load(runtime, saved_models):
    """Loads a model by name, once for all tests of this module."""
    loaded = {}

    def by_name(name, **options):
        key = (name, *options.items())
        if key not in loaded:
            loaded[key] = runtime.load(saved_models / name / "1", LoadOptions(**options))
        return loaded[key]

    yield by_name
    for model in loaded.values():
        model.close()


def run(model, signature="serving_default", outputs=None, **feeds):
    """Runs a signature with values by alias; returns arrays by alias."""
    declared = model.signatures[signature]
    aliases = outputs or list(declared.outputs)
    values = {declared.inputs[alias].name: value for alias, value in feeds.items()}
    fetched = model.run(values, [declared.outputs[alias].name for alias in aliases])
    return dict(zip(aliases, (tensor.array for tensor in fetched), strict=True))


class TestLoading:
    def test_signatures_tags_and_version_are_those_of_the_model(self, load):
        model = load("half_plus_two")
        assert set(model.signatures) == {"serving_default", "__saved_model_init_op"}
        assert model.signatures["serving_default"].inputs["x"].dtype == DataType.DT_FLOAT
        assert list(model.tags) == ["serve"]
        assert model.tensorflow_version.startswith("2.")

    def test_variables_are_restored(self, load):
        np.testing.assert_array_equal(run(load("half_plus_two"), x=Tensor.of([1.0, 2.0], DataType.DT_FLOAT))["y"], [2.5, 3.0])

    def test_assets_are_found_beside_the_model_and_initialised(self, load):
        assert run(load("text"), text=Tensor.of(["kitchen", "light", "moon"]))["id"].tolist() == [1, 0, -1]

    def test_reference_variables_of_old_graphs_work(self, load):
        assert run(load("reference_variables"), x=Tensor.of([4.0], DataType.DT_FLOAT))["y"].tolist() == [5.0]

    def test_a_folder_without_a_model_is_not_found(self, runtime, tmp_path):
        with pytest.raises(
            ServingError, match="Could not find SavedModel .pb or .pbtxt at supplied export directory path"
        ) as refused:
            runtime.load(tmp_path, LoadOptions())
        assert refused.value.code == StatusCode.NOT_FOUND

    def test_a_corrupt_model_is_refused(self, runtime, tmp_path):
        (tmp_path / "saved_model.pb").write_bytes(b"no protobuf message")
        with pytest.raises(ServingError) as refused:
            runtime.load(tmp_path, LoadOptions())
        assert refused.value.code != StatusCode.OK

    def test_unknown_tags_are_refused_with_the_loaders_text(self, runtime, saved_models):
        with pytest.raises(ServingError, match=r"Could not find meta graph def matching supplied tags: \{ tpu \}") as refused:
            runtime.load(saved_models / "half_plus_two" / "1", LoadOptions(tags=("tpu",)))
        assert refused.value.code == StatusCode.NOT_FOUND

    def test_a_model_without_its_variables_loads_but_cannot_run(self, runtime, saved_models, tmp_path):
        # So does TensorFlow Serving; a push that renames a complete directory never shows one.
        (tmp_path / "saved_model.pb").write_bytes((saved_models / "half_plus_two" / "1" / "saved_model.pb").read_bytes())
        model = runtime.load(tmp_path, LoadOptions())
        with pytest.raises(ServingError) as refused:
            run(model, x=Tensor.of([1.0], DataType.DT_FLOAT))
        assert refused.value.code == StatusCode.FAILED_PRECONDITION
        model.close()


class TestValues:
    @pytest.mark.parametrize(
        ("dtype", "values"),
        [
            ("float", [1.5, -0.0]),
            ("double", [1e300]),
            ("half", [0.5, 65504]),
            ("bfloat16", [1.0, -2.5]),
            ("int8", [-128, 127]),
            ("uint8", [0, 255]),
            ("int16", [-32768]),
            ("uint16", [65535]),
            ("int32", [-1, 2**31 - 1]),
            ("uint32", [2**32 - 1]),
            ("int64", [-(2**63), 2**63 - 1]),
            ("uint64", [2**64 - 1]),
            ("bool", [True, False]),
            ("complex64", [1 + 2j]),
            ("complex128", [-1j]),
            ("string", [b"", b"\x00\xff", b"x" * 22, b"x" * 23, "Grüße".encode()]),
        ],
    )
    def test_every_type_comes_back_as_it_went_in_both_as_array_and_as_message(self, load, dtype, values):
        tensor = Tensor.of(values, DataType.Value(f"DT_{dtype.upper()}"))
        model = load("echo")
        for fed in (tensor, tensors.to_proto(tensor), tensors.to_proto(tensor, content=dtype != "string")):
            echoed = run(model, f"serving_default_{dtype}" if f"serving_default_{dtype}" in model.signatures else dtype, x=fed)[
                "x"
            ]
            assert echoed.dtype == tensor.array.dtype
            assert echoed.tolist() == tensor.array.tolist()

    @pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1), (2, 3)])
    @pytest.mark.parametrize("dtype", ["float", "string"])
    def test_shapes_are_kept(self, load, dtype, shape):
        values = np.full(shape, 1.5, np.float32) if dtype == "float" else np.full(shape, b"a", object)
        tensor = Tensor.of(values, DataType.Value(f"DT_{dtype.upper()}"))
        for fed in (tensor, tensors.to_proto(tensor)):
            assert run(load("echo"), dtype, x=fed)["x"].shape == shape

    def test_arrays_in_another_memory_order_keep_their_elements(self, load):
        transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
        np.testing.assert_array_equal(run(load("echo"), "float", x=Tensor.of(transposed))["x"], transposed)

    def test_large_tensors_take_the_paths_without_pythons_lock(self, load):
        numbers, strings = np.arange(100_000, dtype=np.float32), np.array([f"text {i} " * 5 for i in range(5000)], object)
        for fed in (Tensor.of(numbers), tensors.to_proto(Tensor.of(numbers)), tensors.to_proto(Tensor.of(numbers), content=True)):
            np.testing.assert_array_equal(run(load("echo"), "float", x=fed)["x"], numbers)
        assert run(load("echo"), "string", x=Tensor.of(strings))["x"].tolist() == [text.encode() for text in strings]

    def test_strings_made_by_the_graph_are_read_whole(self, load):
        texts = ["a", "turn on the kitchen light, please", ""]
        found = run(load("text"), text=Tensor.of(texts))
        assert found["twice"].tolist() == [(text * 2).encode() for text in texts]
        assert found["bytes"].tolist() == [len(text) for text in texts]

    def test_many_runs_leak_nothing(self, load):
        model, text, numbers = load("text"), Tensor.of(["x" * 200_000]), Tensor.of(np.zeros(100_000, np.float32))
        for count in (50, 500):
            before = resident_mib()
            for _ in range(count):
                run(model, text=text)
                run(load("echo"), "float", x=numbers)
        assert resident_mib() - before < 30, "a leak of either's input or output would be 100 MiB and more"

    def test_strings_kept_by_the_model_outlive_their_request(self, load):
        model = load("remembering")
        texts = [f"a text that fits into no element, number {i}" for i in range(200)]
        run(model, "remember", text=Tensor.of(texts))
        for i in range(50):  # memory of the first request would be taken by these
            run(model, "remember", text=Tensor.of([f"{i}" * 60]))
        recalled = run(model, "recall", keys=Tensor.of(list(range(1, 200))))["text"]
        assert recalled.tolist() == [text.encode() for text in texts[1:]]

    @pytest.mark.parametrize(
        ("dtype", "shape", "fields"),
        [
            ("float", [4], {"float_val": [1, 2]}),
            ("float", [1], {"float_val": [1, 2, 3]}),
            ("float", [3], {}),
            ("float", [2], {"int_val": [1, 2]}),
            ("float", [2], {"float_val": [1], "tensor_content": np.float32([3, 4]).tobytes()}),
            ("float", [0], {"float_val": [1]}),
            ("half", [2], {"half_val": [0x3C00]}),
            ("bfloat16", [2], {"half_val": [0x3F80, 0xC020]}),
            ("int8", [2], {"int_val": [-1, 300]}),
            ("uint16", [2], {"int_val": [65535, 65536]}),
            ("bool", [2], {"bool_val": [True]}),
            ("complex64", [2], {"scomplex_val": [1, 2, 3]}),
            ("string", [3], {"string_val": [b"a", b"b" * 30]}),
            ("string", [2], {}),
            ("string", [2], {"tensor_content": b"\x01\x02abc"}),
            ("string", [2], {"tensor_content": b"\x01\x02abcd"}),
            ("string", [2], {"tensor_content": b"\x01\x05abc"}),
            ("int64", [2], {"tensor_content": b"1234567"}),
        ],
    )
    def test_odd_messages_are_read_as_the_client_reads_them(self, load, dtype, shape, fields):
        proto = TensorProto(dtype=DataType.Value(f"DT_{dtype.upper()}"), **fields)
        for size in shape:
            proto.tensor_shape.dim.add().size = size
        try:
            expected = tensors.from_proto(proto).array.tolist()
        except tensors.MalformedTensorProtoError:
            expected = None
        try:
            found = run(load("echo"), dtype, x=proto)["x"].tolist()
        except MalformedTensorError:
            found = None
        assert found == expected


class TestErrors:
    """Texts that TensorFlow Serving's clients see."""

    def refused(self, *arguments, **feeds):
        with pytest.raises(ServingError) as error:
            run(*arguments, **feeds)
        return error.value

    def test_wrong_type(self, load):
        error = self.refused(load("half_plus_two"), x=Tensor.of(["text"]))
        assert (error.code, error.message) == (StatusCode.INVALID_ARGUMENT, "Expects arg[0] to be float but string is provided")

    def test_the_static_shape_is_not_checked(self, load):
        assert run(load("half_plus_two"), x=Tensor.of(2.0, DataType.DT_FLOAT))["y"].tolist() == 3.0

    def test_a_failing_op(self, load):
        error = self.refused(
            load("text"), "product", a=Tensor.of(np.ones((2, 4), np.float32)), b=Tensor.of(np.ones((3, 2), np.float32))
        )
        assert error.code == StatusCode.INVALID_ARGUMENT
        assert error.message.startswith("Matrix size-incompatible: In[0]: [2,4], In[1]: [3,2]\n\t [[{{")

    def test_unparseable_and_incomplete_examples(self, load):
        error = self.refused(load("text"), "parse", examples=Tensor.of([b"garbage!!"]))
        assert error.code == StatusCode.INVALID_ARGUMENT
        assert error.message.startswith("Could not parse example input, value: 'garbage!!'\n\t [[{{")
        error = self.refused(load("text"), "parse", examples=Tensor.of([Example().SerializeToString()]))
        assert error.message.startswith("Name: <unknown>, Feature: x (data type: float) is required but could not be found.")

    @pytest.mark.parametrize(
        "proto",
        [
            TensorProto(),
            TensorProto(dtype=77),
            TensorProto(dtype=DataType.DT_FLOAT, tensor_content=b"123"),
            TensorProto(dtype=DataType.DT_FLOAT, tensor_shape={"dim": [{"size": -1}]}, float_val=[1]),
            TensorProto(dtype=DataType.DT_FLOAT, tensor_shape={"unknown_rank": True}, float_val=[1]),
            TensorProto(dtype=DataType.DT_FLOAT, tensor_shape={"dim": [{"size": 2**62}, {"size": 2**62}]}, float_val=[1]),
            TensorProto(dtype=DataType.DT_FLOAT, tensor_shape={"dim": [{"size": 10**10}]}, float_val=[1]),
            TensorProto(dtype=DataType.DT_STRING, tensor_shape={"dim": [{"size": 10**8}]}),
        ],
        ids=[
            "empty",
            "unknown type",
            "wrong size",
            "negative",
            "unknown rank",
            "overflow",
            "40 GB of repeats",
            "2 GB of headers",
        ],
    )
    def test_malformed_messages_name_the_feed_and_take_no_memory(self, load, proto):
        model = load("half_plus_two")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        feed = model.signatures["serving_default"].inputs["x"].name
        with pytest.raises(MalformedTensorError) as error:
            run(model, x=proto)
        assert error.value.tensor == feed
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000

    def test_names_the_graph_does_not_have(self, load):
        model = load("half_plus_two")
        for feeds, fetches, message in (
            ({"nothing:0": Tensor.of([1.0])}, [], "FeedInputs: unable to find feed output nothing:0"),
            ({}, ["nothing:0"], "FetchOutputs node nothing:0: not found"),
            ({}, ["StatefulPartitionedCall:7"], "FetchOutputs node StatefulPartitionedCall:7: not found"),
        ):
            with pytest.raises(ServingError, match=message):
                model.run(feeds, fetches)

    def test_a_run_that_takes_too_long_ends(self, load):
        model = load("text", run_on_calling_thread=False)
        declared = model.signatures["count"]
        started = time.monotonic()
        with pytest.raises(ServingError) as error:
            model.run(
                {declared.inputs["steps"].name: Tensor.of(100_000_000, DataType.DT_INT32)}, [declared.outputs["counted"].name], 50
            )
        assert error.value.code == StatusCode.DEADLINE_EXCEEDED
        assert time.monotonic() - started < 10

    def test_many_errors_leak_nothing(self, load):
        model, text = load("text"), Tensor.of([b"x" * 100_000])
        for _ in range(20):
            self.refused(model, "parse", examples=text)
        before = resident_mib()
        for _ in range(500):
            self.refused(model, "parse", examples=text)
        assert resident_mib() - before < 20


class TestThreads:
    @pytest.mark.parametrize("run_on_calling_thread", [True, False])
    def test_eight_threads_get_their_own_answers(self, load, run_on_calling_thread):
        model = load("text", run_on_calling_thread=run_on_calling_thread)

        def ask(thread):
            for i in range(150):
                text = f"thread {thread} asks for the {i}th time " * (i % 3)
                assert run(model, text=Tensor.of([text]))["twice"].tolist() == [(text * 2).encode()]
            return thread

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert list(pool.map(ask, range(8))) == list(range(8))

    def test_a_run_lets_other_threads_work(self, load):
        model, ticks, done = load("text"), 0, threading.Event()
        thread = threading.Thread(target=lambda: (run(model, "count", steps=Tensor.of(300_000, DataType.DT_INT32)), done.set()))
        thread.start()
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)
        thread.join()
        assert ticks > 10


class TestClosing:
    def test_a_closed_model_refuses_to_run(self, runtime, saved_models):
        model = runtime.load(saved_models / "half_plus_two" / "1", LoadOptions())
        model.close()
        model.close()
        with pytest.raises(ServingError, match="unloaded") as error:
            run(model, x=Tensor.of([1.0], DataType.DT_FLOAT))
        assert error.value.code == StatusCode.UNAVAILABLE

    def test_closing_waits_for_runs_in_progress(self, runtime, saved_models):
        model = runtime.load(saved_models / "text" / "1", LoadOptions())
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            runs = [pool.submit(run, model, "count", steps=Tensor.of(100_000, DataType.DT_INT32)) for _ in range(4)]
            while len(model._running) < 4:
                time.sleep(0.001)
            model.close()
            assert all(done.result()["counted"].shape == (100,) for done in runs)

    def test_closing_gives_the_memory_back(self, runtime, saved_models):
        def load_run_close():
            model = runtime.load(saved_models / "large" / "1", LoadOptions())
            assert run(model, index=Tensor.of(7, DataType.DT_INT32))["weight"].shape == ()
            model.close()

        for _ in range(3):
            load_run_close()
        before = resident_mib()
        for _ in range(20):
            load_run_close()
        assert resident_mib() - before < 40, "twenty models of 20 MB each were loaded"


class TestStart:
    def test_neither_tensorflow_nor_noise(self, saved_models):
        program = (
            "import sys, pathlib; from serving.server.runtime import LoadOptions, TensorFlowRuntime;"
            f"TensorFlowRuntime.load_library().load(pathlib.Path({str(saved_models / 'half_plus_two' / '1')!r}), LoadOptions());"
            "assert 'tensorflow' not in sys.modules; print('ready')"
        )
        shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=PROJECT)
        assert (shown.stdout, shown.stderr) == ("ready\n", "")


def resident_mib():
    """Megabytes of this process in memory."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_a_stand_in_for_tensorflows_package_does_not_hide_its_libraries(monkeypatch):
    folders = []
    monkeypatch.setitem(sys.modules, "tensorflow", types.ModuleType("tensorflow"))
    monkeypatch.setattr(TensorFlowRuntime, "__init__", lambda _, folder: folders.append(folder))
    TensorFlowRuntime.load_library.__func__.__wrapped__(TensorFlowRuntime)
    assert (folders[0] / "libtensorflow_framework.so.2").exists()
