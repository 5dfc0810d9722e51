"""A small package as the compiler writes one, for tests that need no TFX: two nodes and an exit handler around them."""

from __future__ import annotations

from typing import Any

import yaml

NODES = {"example-gen": "ExampleGen", "evaluator": "Evaluator"}
"""Node ids by task name."""


def package_text(name: str = "intents", image: str = "parlance@sha256:0") -> str:
    """The YAML of a package."""

    def executor(node: str) -> dict[str, Any]:
        return {"container": {"image": image, "command": ["python", "-m", "pipeline.kubeflow.step"], "args": ["--node", node]}}

    announce = {
        "container": {"image": image, "command": ["python", "-m", "pipeline.kubeflow.exit_handler"], "args": ["--run-id", "x"]}
    }
    specification = {
        "pipelineInfo": {"name": name},
        "schemaVersion": "2.1.0",
        "root": {
            "dag": {
                "tasks": {
                    "exit-handler-1": {"componentRef": {"name": "comp-exit-handler-1"}},
                    "exit-handler": {"componentRef": {"name": "comp-exit-handler"}, "dependentTasks": ["exit-handler-1"]},
                }
            },
            "inputDefinitions": {
                "parameters": {
                    "data_path": {"parameterType": "STRING"},
                    "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 10},
                    "rate": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 1.0},
                    "cache": {"parameterType": "BOOLEAN", "defaultValue": True},
                    "gates": {"parameterType": "LIST", "isOptional": True},
                }
            },
        },
        "components": {
            "comp-exit-handler-1": {
                "dag": {
                    "tasks": {
                        "evaluator": {"componentRef": {"name": "comp-evaluator"}, "dependentTasks": ["example-gen"]},
                        "example-gen": {"componentRef": {"name": "comp-example-gen"}},
                    }
                }
            },
            "comp-exit-handler": {"executorLabel": "exec-exit-handler"},
            "comp-evaluator": {"executorLabel": "exec-evaluator"},
            "comp-example-gen": {"executorLabel": "exec-example-gen"},
        },
        "deploymentSpec": {
            "executors": {
                "exec-exit-handler": announce,
                "exec-evaluator": executor("Evaluator"),
                "exec-example-gen": executor("ExampleGen"),
            }
        },
    }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {}}}}}
    return yaml.safe_dump_all([specification, platform], sort_keys=True)
