"""The `kubeflow:` and `schedule:` sections of a pipeline file: how the pipeline becomes pods, and when it runs by itself."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from components.options import Options, Text

NODES = (
    "SchemaImport", "ExampleGen", "StatisticsGen", "ExampleValidator", "BaselineStatistics", "DataGate", "Transform", "Trainer",
    "LatestBlessedModel", "Evaluator", "InfraValidator", "Pusher",
)  # fmt: skip
"""Every node a pipeline may have."""

GATES = ("DataGate",)
"""Nodes that fail when their answer is no. Asking again gives the same answer, so by default they are not retried."""

METADATA_PASSWORD = "PARLANCE_METADATA_PASSWORD"  # noqa: S105 - the variable's name
"""Environment variable of a step that holds the password of ML Metadata's database."""

WEBHOOK_URL = "PARLANCE_WEBHOOK_URL"
"""Environment variable of the exit handler that holds the webhook's address."""

REMOTE_SCHEME = "gs://"

_SCHEME = re.compile(r"^([a-z][a-z0-9+.-]*)://")
_KUBERNETES_NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
_VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
# Seconds, minutes, hours, days of the month, months, days of the week: the form of the library Kubeflow Pipelines reads schedules with.
_CRON_FIELDS = (("second", 0, 59), ("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 6))
_CRON_NAMES = {
    "month": ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    "weekday": ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}
_INTERVAL = re.compile(r"^([1-9][0-9]*)([smhd])$")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}

KubernetesName = Annotated[str, Field(pattern=_KUBERNETES_NAME, max_length=253)]
AbsolutePath = Annotated[str, Field(pattern=r"^/[^\s]*$")]
Variable = Annotated[str, Field(pattern=_VARIABLE)]


class SecretKey(Options):
    """A value in a Kubernetes secret; the value itself is in no file.

    Attributes:
      name: The secret.
      key: Which of its entries.
    """

    name: KubernetesName
    key: str = Field(min_length=1)


class SecretVariable(SecretKey):
    """A secret's value as an environment variable of a step.

    Attributes:
      env: Name of the variable.
    """

    env: Variable

    @field_validator("env")
    @classmethod
    def _not_one_of_ours(cls, env: str) -> str:
        if env in (METADATA_PASSWORD, WEBHOOK_URL):
            raise ValueError(
                f"the variable {env} is set from kubeflow.metadata.secret or kubeflow.webhook; received it under secrets"
            )
        return env


class MetadataOptions(Options):
    """Where ML Metadata is: a MySQL or MariaDB server that all runs share. (Not PostgreSQL, on which cached outputs get mixed up.)

    Attributes:
      host: Its host name inside the cluster.
      port: Its port.
      database: The database, which the schema job of `pipeline/kubeflow/deploy` prepares.
      user: Who reads and writes it.
      secret: Where the password is.
    """

    host: str = Field(default="parlance-mysql", pattern=r"^[A-Za-z0-9.-]+$")
    port: int = Field(default=3306, gt=0, lt=65536)
    database: str = Field(default="parlance", pattern=r"^[A-Za-z0-9_]+$")
    user: str = Field(default="parlance", pattern=r"^[A-Za-z0-9_.-]+$")
    secret: SecretKey = SecretKey(name="parlance-metadata", key="password")

    @property
    def url(self) -> str:
        """How a step is told; the password comes by the environment variable METADATA_PASSWORD."""
        return f"mysql://{self.user}@{self.host}:{self.port}/{self.database}"


class VolumeOptions(Options):
    """A persistent volume claim in every step.

    Attributes:
      claim: The claim; its volume must be writable from several pods at once (ReadWriteMany).
      mount: Where it appears.
    """

    claim: KubernetesName = "parlance"
    mount: AbsolutePath = "/parlance"


class GpuOptions(Options):
    """Accelerators of a step.

    Attributes:
      type: Kubernetes' name of the resource.
      count: How many.
    """

    type: str = Field(default="nvidia.com/gpu", pattern=r"^[a-z0-9.-]+/[A-Za-z0-9._-]+$")
    count: int = Field(default=1, gt=0)


class Toleration(Options):
    """A taint of cluster nodes that a step's pod tolerates; Kubernetes' own words.

    Attributes:
      key: The taint's key; any, if not given.
      operator: `Equal` compares the value, `Exists` does not.
      value: The taint's value.
      effect: Which effect; all, if not given.
      seconds: With `NoExecute`: how long.
    """

    key: str | None = None
    operator: Literal["Equal", "Exists"] = "Equal"
    value: Text | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    seconds: int | None = Field(default=None, ge=0)

    @model_validator(mode="after")
    def _value_goes_with_equal(self) -> Toleration:
        if self.operator == "Exists" and self.value is not None:
            raise ValueError("a toleration with operator Exists has no value")
        if self.operator == "Equal" and self.key is None:
            raise ValueError("a toleration without a key has operator: Exists")
        return self


class NodeOptions(Options):
    """How one node's pod is made. In `kubeflow.defaults` it is every node's, in `kubeflow.nodes` one node's; what that one gives wins.

    Attributes:
      cpu: CPUs requested, and the limit: `2`, `0.5` or `500m`.
      memory: Memory requested, and the limit: `4Gi`.
      gpu: Accelerators.
      node_selector: Labels that the cluster node must have.
      tolerations: Taints that it may have.
      image: The container image; `kubeflow.image` if not given.
      retries: How often a failed step is started again. A step that was killed takes up its own execution.
      timeout_seconds: When Kubernetes ends the step; no limit if not given.
      secrets: Secrets as environment variables.
      volumes: More volumes, beside `kubeflow.volume`.
    """

    cpu: Annotated[Text, Field(pattern=r"^([0-9]*[.])?[0-9]+$|^[0-9]+m$")] | None = None
    memory: Annotated[Text, Field(pattern=r"^[0-9]+(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)?$")] | None = None
    gpu: GpuOptions | None = None
    node_selector: dict[str, Text] = Field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    image: str | None = Field(default=None, pattern=r"^\S+$")
    retries: int = Field(default=2, ge=0, le=10)
    timeout_seconds: int | None = Field(default=None, gt=0)
    secrets: tuple[SecretVariable, ...] = ()
    volumes: tuple[VolumeOptions, ...] = ()

    @model_validator(mode="after")
    def _nothing_twice(self) -> NodeOptions:
        for what, values in (
            ("secrets: the variable", [secret.env for secret in self.secrets]),
            ("volumes: the mount", [volume.mount for volume in self.volumes]),
        ):
            if twice := sorted({value for value in values if values.count(value) > 1}):
                raise ValueError(f"{what} {twice[0]} is given twice")
        return self


class ParameterOptions(Options):
    """A setting that can be another one in each run of the same compiled pipeline.

    Attributes:
      setting: The setting, as after `--set`, e.g. `data.source.path` or `evaluation.gates`.
      choices: Names for values; the run is then given a name. `default` is one of them.
      default: The name used where a run gives none; without choices, the default is what the pipeline file says.
    """

    setting: str = Field(pattern=r"^[a-z_]+(\.[a-zA-Z0-9_]+)+$")
    choices: dict[str, Any] | None = None
    default: str | None = None

    @model_validator(mode="after")
    def _default_is_a_choice(self) -> ParameterOptions:
        if (self.choices is None) != (self.default is None):
            raise ValueError("choices and default go together")
        if self.choices is not None and self.default not in self.choices:
            raise ValueError(f"default {self.default!r} is no choice; choices: {', '.join(self.choices)}")
        return self


class KubeflowOptions(Options):
    """The `kubeflow:` section.

    Attributes:
      image: The image that holds Parlance (`pipeline/kubeflow/image`), best by digest: `NAME@sha256:...`.
      pull_policy: When cluster nodes fetch it; Kubernetes' default if not given.
      pull_secrets: Secrets for fetching it.
      pipeline_root: Folder of all artifacts: a path on a mounted volume, or gs://; the main volume's mount if not given.
      metadata: Where ML Metadata is.
      volume: A volume in every step; null for none.
      parameters: Runtime parameters by name: a setting, or a mapping with choices; null drops one that Parlance would add.
      defaults: How pods are made.
      nodes: Exceptions, by node id.
      service_account: Kubernetes account the run's pods use; the cluster's default one if not given.
      webhook: Where the address is that a finished run is announced to; no announcement if not given.
      ui: Address of Kubeflow's pages as people reach them; announcements then link to the run.
      labels: Labels of every pod.
      annotations: Annotations of every pod.
    """

    image: str = Field(default="parlance:0.1.0", pattern=r"^\S+$")
    pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pull_secrets: tuple[KubernetesName, ...] = ()
    pipeline_root: str | None = None
    metadata: MetadataOptions = MetadataOptions()
    volume: VolumeOptions | None = VolumeOptions()
    parameters: dict[str, ParameterOptions | None] = Field(default_factory=dict)
    defaults: NodeOptions = NodeOptions()
    nodes: dict[str, NodeOptions] = Field(default_factory=dict)
    service_account: KubernetesName | None = None
    webhook: SecretKey | None = None
    ui: str | None = Field(default=None, pattern=r"^https?://[^\s@]+$")
    labels: dict[str, Text] = Field(default_factory=dict)
    annotations: dict[str, Text] = Field(default_factory=dict)

    @field_validator("parameters", mode="before")
    @classmethod
    def _a_setting_may_stand_alone(cls, value):
        if not isinstance(value, dict):
            return value
        return {name: {"setting": entry} if isinstance(entry, str) else entry for name, entry in value.items()}

    @field_validator("parameters")
    @classmethod
    def _parameters_have_names(cls, value: dict[str, ParameterOptions | None]) -> dict[str, ParameterOptions | None]:
        for name in value:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name == "run_id":
                raise ValueError(
                    f"a parameter's name is lower case letters, digits and _, begins with a letter and is not run_id; received {name!r}"
                )
        return value

    @field_validator("nodes")
    @classmethod
    def _nodes_exist(cls, value: dict[str, NodeOptions]) -> dict[str, NodeOptions]:
        for node_id in value:
            if node_id not in NODES:
                near = difflib.get_close_matches(node_id, NODES, n=1)
                hint = f"did you mean {near[0]}? " if near else ""
                raise ValueError(f"there is no node {node_id!r}; {hint}nodes: {', '.join(NODES)}")
        return value

    @model_validator(mode="after")
    def _artifacts_have_a_place(self) -> KubeflowOptions:
        root = self.pipeline_root
        if root is None:
            if self.volume is None:
                raise ValueError("without a volume, pipeline_root must be given, and be on gs://")
            return self
        check_storage("pipeline_root", root)
        if root.startswith(REMOTE_SCHEME):
            return self
        mounts = [volume.mount for volume in (*([self.volume] if self.volume else []), *self.defaults.volumes)]
        if not any(is_below(root, mount) for mount in mounts):
            raise ValueError(
                f"pipeline_root must be on a volume that every step mounts, or on gs://; received {root!r}; "
                f"mounts: {', '.join(mounts) or 'none'}"
            )
        return self

    @property
    def root(self) -> str:
        """The folder of all artifacts, without a slash at the end."""
        if self.pipeline_root is not None:
            return self.pipeline_root.rstrip("/") or "/"
        assert self.volume is not None  # the validator's other branch
        return self.volume.mount.rstrip("/") or "/"

    def of(self, node_id: str) -> NodeOptions:
        """Returns a node's options: its own, and for what they do not give, the defaults."""
        own = self.nodes.get(node_id)
        given = {name: getattr(own, name) for name in own.model_fields_set} if own else {}
        default = {} if "retries" in self.defaults.model_fields_set or node_id not in GATES else {"retries": 0}
        return self.defaults.model_copy(update={**default, **given})

    def volumes_of(self, node_id: str) -> tuple[VolumeOptions, ...]:
        """Returns all volumes of a node's step."""
        return (*([self.volume] if self.volume else []), *self.of(node_id).volumes)


def is_below(path: str, folder: str) -> bool:
    """Says whether an absolute path is a folder or inside it."""
    return path.rstrip("/") == folder.rstrip("/") or path.startswith(folder.rstrip("/") + "/")


def check_storage(place: str, path: str) -> None:
    """Checks that artifacts can be kept at a path: absolute, or on gs://.

    Args:
      place: Which setting says it, for the message.
      path: The path.

    Raises:
      ValueError: They cannot; the message says what to use instead.
    """
    scheme = _SCHEME.match(path)
    if scheme is not None and scheme[0] != REMOTE_SCHEME:
        raise ValueError(
            f"{place} cannot be on {scheme[0]}, because TensorFlow 2.21, which reads and writes artifacts, has a file system for gs:// "
            f"but none for {scheme[0]}. Mount the bucket as a volume (a CSI or FUSE driver for S3) and name the path where it is "
            f"mounted, or use a ReadWriteMany volume, or gs://; received {path!r}"
        )
    if scheme is None and not path.startswith("/"):
        raise ValueError(f"{place} must be an absolute path on a mounted volume, or on gs://; received {path!r}")


class ScheduleOptions(Options):
    """The `schedule:` section: when the compiled pipeline runs by itself.

    Kubeflow Pipelines reads the times of a cron expression in the API server's time zone, which is UTC unless its administrator set
    CRON_SCHEDULE_TIMEZONE. A run does not know which slot it was started for, so data is chosen by what is newest or by a parameter.

    Attributes:
      cron: Six fields: second, minute, hour, day, month, weekday; e.g. `0 30 2 * * *` is half past two every night.
      interval: A number with s, m, h or d, e.g. `6h`; exactly one of cron and interval is given.
      catchup: Whether slots missed while the schedule was paused are run afterwards. They would all read the same, newest data.
      max_concurrency: How many runs of it may be under way at once. With more than one, two may compete for the baseline.
      enabled: Whether it runs at all.
      start: First moment; ISO 8601 with a time zone.
      end: Last moment.
      parameters: Values of runtime parameters for its runs.
    """

    cron: str | None = None
    interval: str | None = None
    catchup: bool = False
    max_concurrency: int = Field(default=1, ge=1, le=10)
    enabled: bool = True
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    parameters: dict[str, Text] = Field(default_factory=dict)

    @field_validator("cron")
    @classmethod
    def _cron_has_six_fields(cls, cron: str | None) -> str | None:
        if cron is not None:
            cron = " ".join(cron.split())
            if problem := _cron_problem(cron):
                raise ValueError(problem)
        return cron

    @field_validator("interval")
    @classmethod
    def _interval_is_a_number_with_a_unit(cls, interval: str | None) -> str | None:
        if interval is not None and not _INTERVAL.match(interval):
            raise ValueError(f"interval is a number with s, m, h or d, e.g. 6h; received {interval!r}")
        return interval

    @model_validator(mode="after")
    def _times_fit_together(self) -> ScheduleOptions:
        if (self.cron is None) == (self.interval is None):
            raise ValueError("a schedule has exactly one of cron and interval")
        for name in ("start", "end"):
            moment = getattr(self, name)
            if moment is not None and moment.tzinfo is None:
                raise ValueError(f"{name} needs a time zone, e.g. {moment.isoformat()}Z; received {moment.isoformat()}")
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start must be before end; received {self.start.isoformat()} and {self.end.isoformat()}")
        return self

    @property
    def interval_seconds(self) -> int | None:
        """The interval in seconds; None with cron."""
        match = _INTERVAL.match(self.interval or "")
        return int(match[1]) * _SECONDS[match[2]] if match else None


def _cron_problem(cron: str) -> str | None:
    """Says what is wrong with a cron expression."""
    fields = cron.split(" ")
    if len(fields) == len(_CRON_FIELDS) - 1:
        return f"cron has six fields here, the first is the second: write '0 {cron}'; received {cron!r}"
    if len(fields) != len(_CRON_FIELDS):
        return f"cron has six fields: second minute hour day month weekday, e.g. '0 30 2 * * *'; received {cron!r}"
    for text, (name, low, high) in zip(fields, _CRON_FIELDS, strict=True):
        if not all(_is_cron_part(part, low, high, _CRON_NAMES.get(name, ())) for part in text.split(",")):
            return f"the field {name} of cron holds numbers from {low} to {high}, *, a-b, */n or lists of them; received {text!r}"
    return None


def _is_cron_part(part: str, low: int, high: int, names: Iterable[str]) -> bool:
    span, slash, step = part.partition("/")
    if slash and not (step.isdigit() and int(step) > 0):
        return False
    if span in ("*", "?"):
        return True
    numbers = {name: low + place for place, name in enumerate(names)}
    ends = [numbers.get(end.upper(), int(end) if end.isdigit() else -1) for end in span.split("-")]
    return len(ends) <= 2 and all(low <= end <= high for end in ends) and ends[0] <= ends[-1]
