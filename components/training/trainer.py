"""The run function of TFX's generic Trainer: trains on the train split, stops early on the eval split, exports the best weights."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft

from components.errors import UsageError
from components.privacy import model_rules
from components.training import abstention, examples, jobs, loop, network, pool_files
from components.training.counts import SplitCounts
from components.training.distribution import Distribution
from components.training.export import Servable
from components.training.optimizer import SparseAdam
from components.training.options import AbstainOptions, DistributionOptions, ModelOptions, TokensOptions
from components.transform import preprocessing
from components.transform.columns import LABEL, Columns, text_feature
from components.transform.saved_graph import SavedGraph
from components.validation import schema_file

RECORD = "training.json"

# Embeddings of n-grams need large steps; a table's few columns are memorised by them. Chosen on eval splits.
_TEXT_LEARNING_RATE = 4e-3
_TABLE_LEARNING_RATE = 1e-3
_WARM_UP_SHARE = 0.05
# The loss of a model without text is mostly chance on an eval split of another time while its steps are large: time-ordered folds
# of the taxi table's train and eval splits favoured to let no epoch before this share of the schedule win or end training.
_UNSETTLED_SHARE_OF_TABLE = 0.5
_EVAL_BATCH_ROWS = 1024
# On the same folds the scores of single networks differ by 0.005 (standard deviation over seeds), more than most settings make.
_TABLE_MEMBERS, _TEXT_MEMBERS = 3, 1

_log = logging.getLogger(__name__)


def run_fn(fn_args: Any) -> None:
    """Trains and exports the model, or has the machines do it that wait in `model.distribution.jobs`.

    Writes the SavedModel to `fn_args.serving_model_dir`; TensorBoard logs and `training.json` to `fn_args.model_run_dir`.

    Args:
      fn_args: TFX's FnArgs. `custom_config` holds `model` (the `model:` section), `text` (columns), `label` (column) and, where
        personal data was removed from the rows, `redaction` (RedactionRules as JSON values, which go with the model).

    Raises:
      UsageError: The train split has fewer than two labels, or not the one that `model.abstain.out_of_scope` names.
    """
    job = jobs.Job.of(fn_args)
    folder = ModelOptions.model_validate(job.custom_config["model"]).distribution.jobs
    if folder is None:
        train(job)
    else:
        jobs.hand_over(job, folder)


def train(job: jobs.Job) -> None:
    """Trains and exports the model; one of several machines that train together does its part, and the chief exports.

    Args:
      job: See `run_fn`.

    Raises:
      EnvironmentFailure: The other machines do another job.
      UsageError: As `run_fn` says, or the machines are not named, or a step's rows cannot be dealt out to them.
    """
    with tempfile.TemporaryDirectory(prefix="parlance-training-") as folder:
        _train(job, folder)


def _train(job: jobs.Job, folder: str) -> None:
    """Does what `train` says; `folder` is for transformed rows."""
    started = time.monotonic()
    options = ModelOptions.model_validate(job.custom_config["model"])
    columns = Columns.of(schema_file.read(job.schema_path), job.custom_config["text"], job.custom_config["label"])
    if options.xla and columns.text:
        raise UsageError(
            f"model.xla is for models that read no text; received true with the text columns {', '.join(map(repr, columns.text))}, "
            "set it to false"
        )
    distribution = Distribution(options.distribution)
    distribution.batch_of_replica(options.batch_size)
    distribution.check_same_job(_digest(job))
    transform = tft.TFTransformOutput(job.transform_graph_path)
    keras.utils.set_random_seed(options.seed)

    # One function for all splits, because it takes seconds to make.
    preprocess = tf.function(SavedGraph(transform), autograph=False)

    def keep(name: str, files: Sequence[str], look: Callable[[pool_files.Pool], None], **which: Any) -> pool_files.Reading:
        def read(order_seed: int | None) -> tf.data.Dataset:
            return examples.transformed_pools(files, columns, preprocess, options.seed, order_seed=order_seed, **which)

        return pool_files.keep(read, os.path.join(folder, name), look)

    classes = transform.vocabulary_by_name(LABEL)
    counts = SplitCounts(
        len(classes),
        [_text_identifiers(options, transform, position) for position in range(len(columns.text))],
        preprocessing.category_identifiers(transform, len(columns.categorical)),
    )
    read_train = keep("train", job.train_files, counts.add, share=distribution.share)
    all_eval_pools = keep("eval", job.eval_files, _see_nothing, unseen_labels=True)(None)
    eval_pools = all_eval_pools.map(examples.with_seen_labels)
    if distribution.share != examples.ALL_ROWS:
        eval_pools = keep("eval share", job.eval_files, _see_nothing, share=distribution.share)(None)
    rows_of_class = counts.rows_of_class(distribution.total)
    if np.count_nonzero(rows_of_class) < 2:
        raise UsageError(
            f"A classifier needs two labels or more in the train split; {columns.label!r} has {np.count_nonzero(rows_of_class)} there"
        )
    abstain = options.abstain
    out_of_scope = None
    if abstain and abstain.out_of_scope is not None:
        out_of_scope = abstention.label_index(abstain.out_of_scope, [label.decode() for label in classes])

    sizes = counts.input_sizes(len(columns.numeric), distribution.total)
    members, fits = [], []
    for number in range(options.members or (_TEXT_MEMBERS if columns.text else _TABLE_MEMBERS)):
        own = options.model_copy(update={"seed": options.seed + number})
        if number:
            keras.utils.set_random_seed(own.seed)
        with distribution.scope():
            member = network.build(own, sizes, len(classes))
        log_directory = os.path.join(job.model_run_dir, f"member-{number}") if number else job.model_run_dir
        fits.append(prepare(member, own, read_train(own.seed), eval_pools, rows_of_class, log_directory, distribution))
        members.append(member)
    with concurrent.futures.ThreadPoolExecutor(_members_at_once(distribution)) as threads:
        histories = list(threads.map(lambda run: run(), fits))
    if not distribution.cluster.is_chief:
        return
    if distribution.is_distributed or options.precision != "float32":
        members = [_plain(member, options, sizes, len(classes)) for member in members]
    model = network.average(members)
    choice = choose_threshold(abstain, model, all_eval_pools, len(classes), out_of_scope) if abstain else None
    applied = abstention.Abstention(choice.threshold if choice else None, out_of_scope)
    Servable(model, transform, columns, classes, options.top_k, applied).save(job.serving_model_dir)
    if rules := job.custom_config.get("redaction"):
        model_rules.ship(rules, job.serving_model_dir)

    record = {
        **summarise(histories),
        "members": len(members),
        "replicas": distribution.replicas,
        "abstain": {**abstain.model_dump(), **dataclasses.asdict(choice)} if abstain and choice else None,
        "rows": int(rows_of_class.sum()),
        "classes": len(classes),
        "parameters": model.count_params(),
        "seconds": round(time.monotonic() - started, 1),
    }
    tf.io.gfile.makedirs(job.model_run_dir)
    with tf.io.gfile.GFile(os.path.join(job.model_run_dir, RECORD), "w") as file:
        file.write(json.dumps(record, indent=2))


def summarise(histories: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns one record of what `fit` said of each member: the most epochs, and the means of losses and accuracies."""
    first = histories[0]
    if len(histories) == 1:
        return dict(first)
    return {
        name: max(history[name] for history in histories)
        if name in ("epochs", "best_epoch")
        else None
        if value is None
        else float(np.mean([history[name] for history in histories]))
        for name, value in first.items()
    }


def class_weights(rows_of_class: np.ndarray) -> dict[int, float]:
    """Returns a weight per class that grows with the square root of its rarity; the average row weighs 1.

    The root is a compromise: full balance lets a class with three rows outweigh one with thousands.
    """
    weights = 1 / np.sqrt(np.maximum(rows_of_class, 1))
    weights *= rows_of_class.sum() / (weights * rows_of_class).sum()
    return dict(enumerate(weights.tolist()))


def choose_threshold(
    options: AbstainOptions, model: keras.Model, pools: tf.data.Dataset, classes: int, out_of_scope: int | None
) -> abstention.Choice | None:
    """Chooses the abstain threshold on a split, and logs a warning where it is not what was asked for.

    Args:
      options: Says how precise the answers must be.
      model: Maps transformed features to logits.
      pools: All rows of the split; those whose label training has not seen are wrong whatever the answer.
      classes: How many labels there are.
      out_of_scope: Index of the label that is no answer.

    Returns:
      The choice; None where the split has no row that could be answered.
    """
    scores, predicted, correct = [np.zeros(0, np.float32)], [np.zeros(0, np.int32)], [np.zeros(0, bool)]
    for features, labels in examples.batches(pools, list(model.input), classes, _EVAL_BATCH_ROWS, None):
        score, index = tf.math.top_k(tf.nn.softmax(model(features, training=False)), 1)
        scores.append(score[:, 0].numpy())
        predicted.append(index[:, 0].numpy())
        correct.append(tf.gather(labels, index, batch_dims=1)[:, 0].numpy() > 0)
    answerable = None if out_of_scope is None else np.concatenate(predicted) != out_of_scope
    choice = abstention.choose_threshold(np.concatenate(scores), np.concatenate(correct), options.target_precision, answerable)
    if choice is None:
        _log.warning("The eval split has no row to choose an abstain threshold on: the model gets none")
    elif not choice.reached:
        _log.warning(
            "No abstain threshold reaches a precision of %g on the eval split; the best one reaches %.4f on %d rows (%.1f %%)",
            *(options.target_precision, choice.precision, choice.rows, 100 * choice.coverage),
        )
    elif choice.rows < abstention.FEWEST_ROWS:
        _log.warning("The abstain threshold answers %d rows of the eval split: their precision is mostly chance", choice.rows)
    return choice


def prepare(
    model: keras.Model,
    options: ModelOptions,
    train_pools: tf.data.Dataset,
    eval_pools: tf.data.Dataset,
    rows_of_class: np.ndarray,
    log_directory: str,
    distribution: Distribution | None = None,
) -> Callable[[], dict[str, Any]]:
    """Prepares to train a network. What depends on the seed is settled here, so that several may be trained at once afterwards.

    Args:
      model: Maps transformed features to logits. Whether one of them is a text decides on learning rate and early stopping.
      options: The `model:` section.
      train_pools: Rows of the train split, in another order each time; this machine's share of them, where there are several.
      eval_pools: Rows of the eval split with labels that training has seen; where there is none, all epochs run and the last is
        the best.
      rows_of_class: How many rows of the train split have each label.
      log_directory: For TensorBoard; the chief's is written.
      distribution: Where the network's copies are; it is the only one if None.

    Returns:
      What trains it, leaves it with the weights of the best epoch, and returns what is recorded: `epochs` run, `best_epoch` (from 1),
      and the best one's `train_accuracy`, `eval_accuracy` and `eval_loss`.
    """
    inputs, classes = list(model.input), len(rows_of_class)
    distribution = distribution or Distribution(DistributionOptions())
    batch_rows = distribution.batch_of_replica(options.batch_size)
    train = examples.batches(train_pools, inputs, classes, batch_rows, options.seed)
    evaluation = examples.batches(eval_pools, inputs, classes, _EVAL_BATCH_ROWS, None)
    has_eval = distribution.total(np.array([_has_rows(eval_pools)], np.int64)).any()
    weights = class_weights(rows_of_class) if options.class_weights == "balanced" else None
    steps_of_epoch = int(np.ceil(rows_of_class.sum() / options.batch_size))
    steps = options.epochs * steps_of_epoch
    reads_text = text_feature(0) in inputs
    peak = options.learning_rate or (_TEXT_LEARNING_RATE if reads_text else _TABLE_LEARNING_RATE)
    rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=peak, warmup_steps=int(steps * _WARM_UP_SHARE))
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=options.label_smoothing)
    with distribution.scope():
        model.compile(optimizer=SparseAdam(rate, fixed_shapes=options.xla), loss=loss, metrics=["accuracy"], jit_compile=False)
    callbacks: list[keras.callbacks.Callback] = [_EpochLog()]
    if distribution.cluster.is_chief:
        callbacks.append(keras.callbacks.TensorBoard(log_directory, write_graph=False))
    first = 0 if reads_text else int(options.epochs * _UNSETTLED_SHARE_OF_TABLE)
    if has_eval:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                "val_loss", patience=options.patience, restore_best_weights=True, start_from_epoch=first
            )
        )
    else:
        _log.warning("The eval split has no row with a label seen in training: training runs %d epochs", options.epochs)
    weighted = train.map(_weighted(weights or dict.fromkeys(range(classes), 1.0)))

    def run() -> dict[str, Any]:
        history = loop.fit(
            model,
            distribution,
            weighted,
            evaluation if has_eval else None,
            options.epochs,
            steps_of_epoch,
            callbacks,
            options.xla,
        )
        losses = history.get("val_loss", history["loss"])
        best = first + int(np.argmin(losses[first:])) if has_eval else len(losses) - 1
        return {
            "epochs": len(losses),
            "best_epoch": best + 1,
            "train_accuracy": history["accuracy"][best],
            "eval_accuracy": history["val_accuracy"][best] if has_eval else None,
            "eval_loss": losses[best] if has_eval else None,
        }

    return run


def _weighted(weights: Mapping[int, float]) -> Callable[[Any, tf.Tensor], tuple[Any, tf.Tensor, tf.Tensor]]:
    """Returns what gives each row of a batch its label's weight."""
    of_label = tf.constant([weights[label] for label in range(len(weights))], tf.float32)
    return tf.autograph.experimental.do_not_convert(
        lambda features, labels: (features, labels, tf.linalg.matvec(labels, of_label))
    )


def _digest(job: jobs.Job) -> bytes:
    """Identifies what a job trains on and how, but not where its results go."""
    values = dataclasses.asdict(job)
    read = {name: values[name] for name in ("custom_config", "train_files", "eval_files", "schema_path", "transform_graph_path")}
    return hashlib.sha256(json.dumps(read, sort_keys=True).encode()).digest()


class _EpochLog(keras.callbacks.Callback):
    """Logs one line per epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        numbers = " ".join(f"{name} {value:.4f}" for name, value in (logs or {}).items())
        _log.info("epoch %d/%d: %s (%.1f s)", epoch + 1, self.params["epochs"], numbers, time.monotonic() - self._started)


def _members_at_once(distribution: Distribution) -> int:
    """Returns how many networks of an ensemble are trained at once: a small one leaves most cores idle."""
    # Copies on several devices, or machines, have to sum their gradients in one order; an accelerator is kept busy by one network.
    if distribution.is_distributed or tf.config.list_physical_devices("GPU"):
        return 1
    return 2 * len(os.sched_getaffinity(0))


def _plain(member: keras.Model, options: ModelOptions, sizes: network.InputSizes, classes: int) -> keras.Model:
    """Returns a copy that belongs to no strategy, and loads where there is none, and that calculates in float32."""
    copy = network.build(options.model_copy(update={"precision": "float32"}), sizes, classes)
    copy.set_weights(member.get_weights())
    return copy


def _text_identifiers(options: ModelOptions, transform: tft.TFTransformOutput, position: int) -> int:
    if isinstance(options.encoder, TokensOptions):
        return preprocessing.PADDING_TOKENS + preprocessing.known_tokens(transform, position) + options.encoder.unknown_buckets
    return options.encoder.buckets


def _has_rows(pools: tf.data.Dataset) -> bool:
    return any(len(pool[LABEL]) for pool in pools)


def _see_nothing(pool: pool_files.Pool) -> None:
    pass
