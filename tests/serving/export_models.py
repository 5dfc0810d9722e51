"""Exports the small SavedModels that the tests of serving load: `python export_models.py FOLDER`, in a process of its own.

Each becomes FOLDER/<name>/1. Importing TensorFlow takes ten seconds, so one process exports them all.
"""

import pathlib
import sys

import tensorflow as tf

v1 = tf.compat.v1
ECHOED = (
    *("float", "double", "int32", "uint8", "int16", "int8", "string", "complex64", "int64", "bool", "bfloat16", "uint16"),
    *("complex128", "half", "uint32", "uint64"),
)


class HalfPlusTwo(tf.Module):
    """y = 0.5 x + 2, on variables."""

    def __init__(self):
        super().__init__()
        self.a = tf.Variable(0.5)
        self.b = tf.Variable(2.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])
    def half_plus_two(self, x):
        return {"y": self.a * x + self.b}


class Echo(tf.Module):
    """Gives back what it gets, for each type."""


class Text(tf.Module):
    """Strings of every length, an asset, and an op that fails."""

    def __init__(self, vocabulary):
        super().__init__()
        self.vocabulary = tf.saved_model.Asset(vocabulary)
        self.table = tf.lookup.StaticHashTable(
            tf.lookup.TextFileInitializer(
                self.vocabulary, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            ),
            -1,
        )

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def words(self, text):
        return {
            "same": text,
            "twice": tf.strings.join([text, text]),
            "bytes": tf.strings.length(text),
            "id": self.table.lookup(text),
        }

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def parse(self, examples):
        return {"x": tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"]}

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None, None], tf.float32)])
    def product(self, a, b):
        return {"product": tf.matmul(a, b)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def count(self, steps):
        return {"counted": tf.while_loop(lambda i, x: i < steps, lambda i, x: (i + 1, tf.sin(x)), [0, tf.ones([100])])[1]}


class OnExamples(tf.Module):
    """Signatures of TensorFlow 2 on tf.Examples with a float x, each with an input tensor of its own: y = x / 2 + 2."""

    def half_plus_two(self, examples):
        return tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"] * 0.5 + 2.0

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def regress(self, inputs):
        return {"outputs": self.half_plus_two(inputs)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="inputs")])
    def classify(self, inputs):
        return {"scores": self.half_plus_two(inputs)}


class Remembering(tf.Module):
    """Keeps the strings of earlier requests."""

    def __init__(self):
        super().__init__()
        self.table = tf.lookup.experimental.MutableHashTable(tf.int64, tf.string, "")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def remember(self, text):
        keys = tf.range(tf.size(text, tf.int64), dtype=tf.int64)
        with tf.control_dependencies([self.table.insert(keys, text)]):
            return {"stored": tf.size(text)}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int64)])
    def recall(self, keys):
        return {"text": self.table.lookup(keys)}


class Large(tf.Module):
    """Twenty megabytes of weights."""

    def __init__(self):
        super().__init__()
        self.weights = tf.Variable(tf.random.stateless_uniform([5_000_000], [1, 2]))

    @tf.function(input_signature=[tf.TensorSpec([], tf.int32)])
    def at(self, index):
        return {"weight": self.weights[index]}


class Scoring(tf.Module):
    """A label and a score for each text: the score is `least` and up to a tenth more, depending on the text."""

    def __init__(self, least):
        super().__init__()
        self.least = tf.Variable(least)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def scored(self, text):
        more = tf.cast(tf.strings.to_hash_bucket_fast(text, 1000), tf.float32) / 10000
        return {"label": tf.repeat(["on"], tf.size(text)), "score": self.least + more}


def export_reference_variables(folder):
    """A graph of TensorFlow 1 with a variable that is a reference, y = x / 2 + 3, and an initialisation op."""
    with v1.Graph().as_default(), v1.Session() as session:
        v1.disable_resource_variables()
        x = v1.placeholder(tf.float32, [None], name="x")
        half = v1.get_variable("half", initializer=0.5)
        y = tf.add(x * half, 3.0, name="y")
        session.run(v1.global_variables_initializer())
        signature = v1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def export_examples(folder):
    """A graph of TensorFlow 1 whose signatures share one input of tf.Examples with a float x: y = x / 2 + 2, as score and as value."""
    saved_model = v1.saved_model
    with v1.Graph().as_default(), v1.Session() as session:
        serialized = v1.placeholder(tf.string, [None], name="tf_example")
        x = tf.identity(v1.parse_example(serialized, {"x": tf.io.FixedLenFeature([1], tf.float32)})["x"], name="x")
        y = tf.add(x * 0.5, 2.0, name="y")
        labels = tf.tile(tf.constant([["low", "high"]]), [tf.shape(x)[0], 1], name="labels")
        both = tf.concat([1 - x, x], axis=1, name="both")
        classify, regress = "tensorflow/serving/classify", "tensorflow/serving/regress"
        described = {
            "serving_default": ({"x": x}, {"y": y}, "tensorflow/serving/predict"),
            "classify_x_to_y": ({"inputs": serialized}, {"scores": y}, classify),
            "classify_labels": ({"inputs": serialized}, {"classes": labels, "scores": both}, classify),
            "regress_x_to_y": ({"inputs": serialized}, {"outputs": y}, regress),
            "regress_two": ({"inputs": serialized}, {"outputs": both}, regress),
            "regress_text": ({"inputs": serialized}, {"outputs": labels[:, :1]}, regress),
            "regress_named_otherwise": ({"examples": serialized}, {"outputs": y}, regress),
            "classify_named_otherwise": ({"inputs": serialized}, {"y": y}, classify),
        }
        signatures = {
            name: saved_model.build_signature_def(
                {alias: saved_model.build_tensor_info(tensor) for alias, tensor in inputs.items()},
                {alias: saved_model.build_tensor_info(tensor) for alias, tensor in outputs.items()},
                method,
            )
            for name, (inputs, outputs, method) in described.items()
        }
        builder = saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()


def export_lite(folder):
    """A version with a SavedModel, y = x / 2 + 2, and a model.tflite that answers otherwise, y = x / 2 + 3."""
    half_plus_two = HalfPlusTwo()
    tf.saved_model.save(half_plus_two, str(folder), signatures=half_plus_two.half_plus_two)
    with v1.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [1, 1], name="x")
        y = tf.add(x * 0.5, 3.0, name="y")
        (folder / "model.tflite").write_bytes(v1.lite.TFLiteConverter.from_session(session, [x], [y]).convert())


def main(folder):
    """Exports all of them."""
    vocabulary = folder / "vocabulary.txt"
    vocabulary.write_text("light\nkitchen\n")
    half_plus_two = HalfPlusTwo()
    tf.saved_model.save(half_plus_two, str(folder / "half_plus_two" / "1"), signatures=half_plus_two.half_plus_two)
    echo = Echo()
    types = {
        name: tf.dtypes.as_dtype({"half": "float16", "float": "float32", "double": "float64"}.get(name, name)) for name in ECHOED
    }
    echo.functions = {
        name: tf.function(lambda x: {"x": tf.identity(x)}, input_signature=[tf.TensorSpec(None, dtype, name="x")])
        for name, dtype in types.items()
    }
    tf.saved_model.save(echo, str(folder / "echo" / "1"), signatures=echo.functions)
    text = Text(str(vocabulary))
    signatures = {"serving_default": text.words, "parse": text.parse, "product": text.product, "count": text.count}
    tf.saved_model.save(text, str(folder / "text" / "1"), signatures=signatures)
    on_examples = OnExamples()
    signatures = {"regress_x_to_y": on_examples.regress, "classify_x_to_y": on_examples.classify}
    tf.saved_model.save(on_examples, str(folder / "examples_of_two" / "1"), signatures=signatures)
    remembering = Remembering()
    signatures = {"remember": remembering.remember, "recall": remembering.recall}
    tf.saved_model.save(remembering, str(folder / "remembering" / "1"), signatures=signatures)
    for name, least in (("sure", 0.85), ("unsure", 0.35)):
        scoring = Scoring(least)
        tf.saved_model.save(scoring, str(folder / name / "1"), signatures=scoring.scored)
    large = Large()
    tf.saved_model.save(large, str(folder / "large" / "1"), signatures=large.at)
    export_reference_variables(folder / "reference_variables" / "1")
    export_examples(folder / "examples" / "1")
    export_lite(folder / "lite" / "1")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
