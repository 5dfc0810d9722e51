"""The run function of TFX's generic Trainer: trains on the train split, stops early on the eval split, exports the best weights."""

from __future__ import annotations

import json
import logging
import os
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.errors import UsageError
from components.training import examples, network
from components.training.encoders import IdentifierStatistics
from components.training.export import Servable
from components.training.optimizer import SparseAdam
from components.training.options import ModelOptions, NgramsOptions
from components.transform import preprocessing
from components.transform.columns import LABEL, RESERVED_CATEGORIES, Columns, category_feature, text_feature
from components.validation import schema_file

RECORD = "training.json"

# Embeddings of n-grams need large steps; a table's few columns are memorised by them. Chosen on eval splits.
_TEXT_LEARNING_RATE = 4e-3
_TABLE_LEARNING_RATE = 1e-3
_WARM_UP_SHARE = 0.05
_EVAL_BATCH_ROWS = 1024

_log = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """Trains and exports the model.

    Writes the SavedModel to `fn_args.serving_model_dir`; TensorBoard logs and `training.json` to `fn_args.model_run_dir`.

    Args:
      fn_args: TFX's FnArgs. `custom_config` holds `model` (the `model:` section), `text` (columns) and `label` (column).

    Raises:
      UsageError: The train split has fewer than two labels.
    """
    started = time.monotonic()
    options = ModelOptions.model_validate(fn_args.custom_config["model"])
    columns = Columns.of(schema_file.read(fn_args.schema_path), fn_args.custom_config["text"], fn_args.custom_config["label"])
    transform = tft.TFTransformOutput(fn_args.transform_graph_path)
    keras.utils.set_random_seed(options.seed)

    layer = transform.transform_features_layer()
    train_pools = examples.transformed_pools(fn_args.train_files, columns, layer, options.seed)
    eval_pools = examples.transformed_pools(fn_args.eval_files, columns, layer, options.seed)
    classes = transform.vocabulary_by_name(LABEL)
    rows_of_class = _rows_of_class(train_pools, len(classes))
    if np.count_nonzero(rows_of_class) < 2:
        raise UsageError(
            f"A classifier needs two labels or more in the train split; {columns.label!r} has {np.count_nonzero(rows_of_class)} there"
        )

    model = network.build(options, _input_sizes(options, columns, transform, train_pools), len(classes))
    history = _fit(model, options, train_pools, eval_pools, rows_of_class, fn_args.model_run_dir)
    Servable(model, transform, columns, classes, options.top_k).save(fn_args.serving_model_dir)

    record = {
        **history,
        "rows": int(rows_of_class.sum()),
        "classes": len(classes),
        "parameters": model.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    tf.io.gfile.makedirs(fn_args.model_run_dir)
    with tf.io.gfile.GFile(os.path.join(fn_args.model_run_dir, RECORD), "w") as file:
        file.write(json.dumps(record, indent=2))


def class_weights(rows_of_class: np.ndarray) -> dict[int, float]:
    """Returns a weight per class that grows with the square root of its rarity; the average row weighs 1.

    The root is a compromise: full balance lets a class with three rows outweigh one with thousands.
    """
    weights = 1 / np.sqrt(np.maximum(rows_of_class, 1))
    weights *= rows_of_class.sum() / (weights * rows_of_class).sum()
    return dict(enumerate(weights.tolist()))


def _fit(
    model: keras.Model,
    options: ModelOptions,
    train_pools: tf.data.Dataset,
    eval_pools: tf.data.Dataset,
    rows_of_class: np.ndarray,
    log_directory: str,
) -> dict[str, Any]:
    inputs, classes = list(model.input), len(rows_of_class)
    train = examples.batches(train_pools, inputs, classes, options.batch_size, options.seed)
    evaluation = examples.batches(eval_pools, inputs, classes, _EVAL_BATCH_ROWS, None)
    has_eval = _rows_of_class(eval_pools, classes).any()
    steps = options.epochs * int(np.ceil(rows_of_class.sum() / options.batch_size))
    reads_text = text_feature(0) in inputs
    peak = options.learning_rate or (_TEXT_LEARNING_RATE if reads_text else _TABLE_LEARNING_RATE)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=int(steps * _WARM_UP_SHARE))
    model.compile(
        optimizer=SparseAdam(rate),
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=options.label_smoothing),
        metrics=["accuracy"],
        jit_compile=False,
    )
    callbacks = [_EpochLog(), keras.callbacks.TensorBoard(log_directory, write_graph=False)]
    if has_eval:
        callbacks.append(keras.callbacks.EarlyStopping("val_loss", patience=options.patience, restore_best_weights=True))
    else:
        _log.warning("The eval split has no row with a label seen in training: training runs %d epochs", options.epochs)
    history = model.fit(
        train,
        validation_data=evaluation if has_eval else None,
        epochs=options.epochs,
        class_weight=class_weights(rows_of_class) if options.class_weights == "balanced" else None,
        callbacks=callbacks,
        verbose=0,
        shuffle=False,
    ).history
    losses = history.get("val_loss", history["loss"])
    best = int(np.argmin(losses)) if has_eval else len(losses) - 1
    return {
        "epochs": len(losses),
        "best_epoch": best + 1,
        "train_accuracy": history["accuracy"][best],
        "eval_accuracy": history["val_accuracy"][best] if has_eval else None,
        "eval_loss": losses[best] if has_eval else None,
    }


class _EpochLog(keras.callbacks.Callback):
    """Logs one line per epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        numbers = " ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        _log.info("epoch %d/%d: %s (%.1f s)", epoch + 1, self.params["epochs"], numbers, time.monotonic() - self._started)


def _rows_of_class(pools: tf.data.Dataset, classes: int) -> np.ndarray:
    rows = np.zeros(classes, np.int64)
    for pool in pools:
        rows += np.bincount(pool[LABEL].numpy(), minlength=classes)
    return rows


def _input_sizes(
    options: ModelOptions, columns: Columns, transform: tft.TFTransformOutput, pools: tf.data.Dataset
) -> network.InputSizes:
    def known(feature):
        return transform.vocabulary_size_by_name(preprocessing.vocabulary_name(feature))

    texts, categories = [], []
    for feature in map(text_feature, range(len(columns.text))):
        if isinstance(options.encoder, NgramsOptions):
            identifiers = options.encoder.buckets
        else:
            identifiers = preprocessing.PADDING_TOKENS + known(feature) + options.encoder.unknown_buckets
        texts.append(IdentifierStatistics.count((pool[feature] for pool in pools), identifiers))
    for feature in map(category_feature, range(len(columns.categorical))):
        rows = (tf.RaggedTensor.from_tensor(pool[feature][:, tf.newaxis]) for pool in pools)
        categories.append(IdentifierStatistics.count(rows, RESERVED_CATEGORIES + known(feature)))
    return network.InputSizes(texts, categories, len(columns.numeric))
