"""TFX node of the stage: TFX's generic Trainer with Parlance's run function, described without importing it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_component
from tfx.proto import trainer_pb2
from tfx.types import standard_artifacts, standard_component_specs

from components.executor_path import ExecutorPath


class Trainer(base_component.BaseComponent):
    """Trains on the train split, stops early on the eval split, exports the serving model."""

    SPEC_CLASS = standard_component_specs.TrainerSpec
    EXECUTOR_SPEC = ExecutorPath("tfx.components.trainer.executor.GenericExecutor")

    def __init__(
        self,
        examples: types.BaseChannel,
        transform_graph: types.BaseChannel,
        schema: types.BaseChannel,
        custom_config: Mapping[str, Any],
    ):
        super().__init__(
            standard_component_specs.TrainerSpec(
                examples=examples,
                transform_graph=transform_graph,
                schema=schema,
                run_fn="components.training.trainer.run_fn",
                train_args=trainer_pb2.TrainArgs(splits=["train"]),
                eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
                custom_config=json.dumps(custom_config, sort_keys=True),
                model=types.Channel(type=standard_artifacts.Model),
                model_run=types.Channel(type=standard_artifacts.ModelRun),
            )
        )
