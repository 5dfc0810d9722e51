"""The analysis of TensorFlow Transform in one process and all its cores: what of the preprocessing graph depends on data.

TensorFlow Transform makes a Beam pipeline of the analyzers in a preprocessing function. On one machine that pipeline takes most of the
time: it is planned step by step, and every value of every row passes through Python. Here the graph itself is traced, as TensorFlow
Transform traces it; the tensors that it hands to its analyzers are computed from tf.Examples inside TensorFlow, reduced there to the
distinct values of a batch, and combined. The graph with the results in it is written by TensorFlow Transform. So the preprocessing
function says what is analysed and how, here and on Beam.

The result of one file of examples is a partial one. Partial results are merged in the order of the files, and may be kept, see
`partial_results`.
"""

from __future__ import annotations

import functools
import json
import os
import pickle
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_metadata.proto.v0 import schema_pb2
from tensorflow_transform import analyzer_nodes, annotators, graph_tools, impl_helper, nodes
from tensorflow_transform.beam import analyzer_impls
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from components.ingestion import in_order
from components.transform import analyzers
from components.transform.partial_results import PartialResults

Preprocessing = Callable[[Mapping[str, Any]], Mapping[str, Any]]

_BATCH_ROWS = 8192
_READ_BYTES = 4 << 20


def analyse(
    preprocessing_fn: Preprocessing,
    schema: schema_pb2.Schema,
    files: Sequence[str],
    output_dir: str,
    partial_results: PartialResults | None = None,
) -> None:
    """Analyses tf.Examples and writes the preprocessing graph, as TFX's Transform does without statistics and materialisation.

    Args:
      preprocessing_fn: Of TensorFlow Transform. Its analyzers are those in `analyzers` and `tft.vocabulary` by frequency, and none
        of them depends on another one's result.
      schema: Of the examples.
      files: Compressed TFRecord files to analyse; results do not depend on how many are read at once.
      output_dir: Folder that `tft.TFTransformOutput` reads.
      partial_results: Where partial results are found and kept; None for nowhere.

    Raises:
      ValueError: The preprocessing function has another analyzer, or analyses in several phases.
    """
    with tempfile.TemporaryDirectory() as scratch:
        graph = AnalysedGraph(preprocessing_fn, schema, scratch)

        def partial(file: str) -> bytes:
            return graph.partial(file) if partial_results is None else partial_results.get(file, graph.partial)

        graph.write(graph.merge(in_order.in_order(partial, files)), output_dir)


class AnalysedGraph:
    """A preprocessing function, traced.

    Args:
      preprocessing_fn: See `analyse`.
      schema: Of the examples.
      scratch: A folder for what is needed until the graph is written.
    """

    def __init__(self, preprocessing_fn: Preprocessing, schema: schema_pb2.Schema, scratch: str):
        self._preprocessing_fn = preprocessing_fn
        self._schema = schema
        self._scratch = scratch
        self._features = schema_utils.schema_as_feature_spec(schema).feature_spec
        self._types = impl_helper.get_type_specs_from_feature_specs(self._features)
        self._graph, self._inputs, _ = impl_helper.trace_preprocessing_function(
            preprocessing_fn, self._types, use_tf_compat_v1=False, base_temp_dir=scratch
        )
        self._sinks = self._graph.get_collection(analyzer_nodes.TENSOR_REPLACEMENTS)
        plan = _Plan()
        planner = nodes.Traverser(plan)
        for sink in self._sinks:
            planner.visit_value_node(sink.future)
        self._combines = plan.combines

    @functools.cached_property
    def _reduce(self) -> Callable[[tf.Tensor], list[list[tf.Tensor]]]:
        """What of the graph leads to its analyzers, from serialized examples [B] on; for each analyzer the tensors it combines."""
        sources = [tensor for tensor, _ in self._combines.values()]
        whole = self._graph.as_graph_def()
        definition = tf.compat.v1.graph_util.extract_sub_graph(whole, [tensor.op.name for tensor in sources])
        there = {node.name for node in definition.node}
        if later := [sink.tensor.op.name for sink in self._sinks if sink.tensor.op.name in there]:
            raise ValueError(f"An analyzer reads the result of another one ({', '.join(later)}), which needs a second pass")
        placeholders = {
            name: [tensor for tensor in tf.nest.flatten(value, expand_composites=True) if tensor.op.name in there]
            for name, value in self._inputs.items()
        }
        features = {name: self._features[name] for name, tensors in placeholders.items() if tensors}

        def reduce(serialized: tf.Tensor) -> list[list[tf.Tensor]]:
            fed = {}
            for name, value in tf.io.parse_example(serialized, features).items():
                parts = tf.nest.flatten(value, expand_composites=True)
                for place, part in zip(tf.nest.flatten(self._inputs[name], expand_composites=True), parts, strict=True):
                    if place.op.name in there:
                        fed[place.name] = part
            values = tf.graph_util.import_graph_def(definition, fed, [tensor.name for tensor in sources], name="analysed")
            return [combine.reduce(value) for (_, combine), value in zip(self._combines.values(), values, strict=True)]

        return reduce

    def partial(self, file: str) -> bytes:
        """Analyses one file; returns the result for `merge`."""
        combines = [combine for _, combine in self._combines.values()]
        accumulators = [combine.create_accumulator() for combine in combines]
        if combines:
            records = tf.data.TFRecordDataset([file], "GZIP", _READ_BYTES).batch(_BATCH_ROWS)
            reduced = records.map(lambda batch: tuple(map(tuple, self._reduce(batch))), num_parallel_calls=in_order.threads())
            for batch in reduced.prefetch(1).as_numpy_iterator():
                accumulators = [
                    combine.add_input(accumulator, *arrays)
                    for combine, accumulator, arrays in zip(combines, accumulators, batch, strict=True)
                ]
        return pickle.dumps(accumulators, pickle.HIGHEST_PROTOCOL)

    def merge(self, partials: Iterable[bytes]) -> dict[str, Any]:
        """Merges the results of files.

        Returns:
          What stands for each analyzer's result in the graph, by the name of the tensor in its place. Vocabularies are files in the
          scratch folder.
        """
        combines = [combine for _, combine in self._combines.values()]
        merged = [combine.create_accumulator() for combine in combines]
        for partial in partials:
            more = pickle.loads(partial)  # noqa: S301 - written by `partial`, as TensorFlow Transform's own cache is
            merged = [combine.merge_accumulators(pair) for combine, *pair in zip(combines, merged, more, strict=True)]
        results = nodes.Traverser(_Results(dict(zip(self._combines, merged, strict=True)), self._scratch))
        return {sink.tensor.name: results.visit_value_node(sink.future) for sink in self._sinks}

    def write(self, results: Mapping[str, Any], output_dir: str) -> None:
        """Writes the graph, with the results of its analyzers in it, and the metadata of its inputs and outputs."""
        output = tft.TFTransformOutput
        metadata_io.write_metadata(
            dataset_metadata.DatasetMetadata(self._schema), os.path.join(output_dir, output.RAW_METADATA_DIR)
        )
        model_dir = os.path.join(output_dir, output.TRANSFORM_FN_DIR)
        replaced = {sink.tensor.name: tf.constant(results[sink.tensor.name], sink.tensor.dtype) for sink in self._sinks}
        assets = annotators.get_asset_annotations(self._graph)
        impl_helper.trace_and_write_v2_saved_model(
            saved_model_dir=model_dir,
            preprocessing_fn=self._preprocessing_fn,
            input_signature=self._types,
            base_temp_dir=self._scratch,
            baseline_analyzers_fingerprint=graph_tools.get_analyzers_fingerprint(self._graph, self._inputs),
            tensor_replacement_map=replaced,
            output_keys_to_name_map=None,
            save_options=None,
        )
        metadata_dir = os.path.join(output_dir, output.TRANSFORMED_METADATA_DIR)
        tf.io.gfile.rename(os.path.join(model_dir, impl_helper.METADATA_DIR_NAME), metadata_dir, overwrite=True)
        if assets:
            with tf.io.gfile.GFile(os.path.join(metadata_dir, output.ASSET_MAP), "w") as file:
                file.write(json.dumps(assets))


class _Tokens(analyzers.ValueCounts):
    """Counts what a vocabulary is made of: values that are no columns, strings [D]."""

    def __init__(self):
        super().__init__(columns=1)

    def reduce(self, values: tf.Tensor) -> list[tf.Tensor]:
        """See the base class."""
        return super().reduce(values[:, tf.newaxis])


class _Plan(nodes.Visitor):
    """Finds out what analyzers read and how that is combined.

    Attributes:
      combines: By the label of what combines it, the tensor that is read and its combination.
    """

    def __init__(self):
        self.combines: dict[str, tuple[tf.Tensor, analyzers.Combination]] = {}

    def visit(self, operation_def, input_values):
        """See the base class."""
        if isinstance(operation_def, analyzer_nodes.TensorSource):
            return (operation_def.tensors,)
        combine: analyzers.Combination | None = None
        if isinstance(operation_def, analyzer_nodes.VocabularyAccumulate):
            if operation_def.vocab_ordering_type == analyzer_impls._VocabOrderingType.FREQUENCY:
                combine = _Tokens()
        elif isinstance(operation_def, analyzer_nodes.PTransform):
            combine = getattr(operation_def.ptransform, "combination", None)
        elif isinstance(operation_def, _OF_VOCABULARIES):
            return (None,)
        if combine is None:
            raise ValueError(
                f"The preprocessing function has an analyzer that only Beam can run: {operation_def.label}. Use tft.vocabulary by "
                "frequency or those in components/transform/analyzers.py, or give one of those a `combination`"
            )
        [[tensor]] = input_values
        self.combines[operation_def.label] = (tensor, combine)
        return (None,) * operation_def.num_outputs

    def validate_value(self, value):
        """See the base class."""


class _Results(nodes.Visitor):
    """Makes results of combined values, in TensorFlow Transform's order of steps."""

    def __init__(self, combined: Mapping[str, Any], folder: str):
        self._combined = combined
        self._folder = folder

    def visit(self, operation_def, input_values):
        """See the base class."""
        if isinstance(operation_def, analyzer_nodes.TensorSource):
            return (None,)
        if isinstance(operation_def, analyzer_nodes.PTransform):
            return (operation_def.ptransform.result(self._combined[operation_def.label], self._folder),)
        if isinstance(operation_def, analyzer_nodes.VocabularyAccumulate):
            [counts] = self._combined[operation_def.label]
            return (counts,)
        if isinstance(operation_def, analyzer_nodes.VocabularyMerge):
            return ([(rows, value) for value, rows in input_values[0].items()],)
        if isinstance(operation_def, analyzer_nodes.VocabularyPrune):
            return (analyzers.most_frequent(input_values[0], operation_def.top_k, operation_def.frequency_threshold),)
        if isinstance(operation_def, analyzer_nodes.VocabularyCount):
            # An empty vocabulary has one line, see below.
            return (np.int64(max(len(input_values[0]), 1)),)
        ranked = analyzer_impls.maybe_add_empty_vocabulary_dummy(input_values[0], operation_def.input_dtype)
        path = os.path.join(self._folder, operation_def.vocab_filename)
        return (analyzers.write_lines(path, (value for _, value in ranked)),)

    def validate_value(self, value):
        """See the base class."""


_OF_VOCABULARIES = (
    analyzer_nodes.VocabularyMerge,
    analyzer_nodes.VocabularyPrune,
    analyzer_nodes.VocabularyCount,
    analyzer_nodes.VocabularyOrderAndWrite,
)
