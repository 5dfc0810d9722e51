"""Alerts and the dashboard: queries that parse, metrics and labels that exist, and alerts that fire when they should."""

from __future__ import annotations

import json
import pathlib
import re
import shutil
import subprocess

import promql_parser
import pytest
import yaml
from promql_parser import AggregateExpr, Call, VectorSelector

from serving.server.errors import StatusCode
from serving.server.metrics import Metrics
from tests.serving.deploy import kustomize

MONITORING = kustomize.DEPLOY / "overlays/monitoring"
CASES = pathlib.Path(__file__).with_name("alert_cases.yaml")
SERVING = ":tensorflow:serving:"

# What TensorFlow Serving exports, with the labels of each; a histogram is `_bucket`, `_sum` and `_count`, in microseconds.
COUNTERS = {
    f"{SERVING}request_count": {"model_name", "status"},
    f"{SERVING}batching_session:wrapped_run_count": set(),
    # TensorFlow's own, of every SavedModel that is loaded.
    ":tensorflow:cc:saved_model:load_attempt_count": {"model_path", "status"},
}
HISTOGRAMS = {
    f"{SERVING}request_latency": {"model_name", "API", "entrypoint"},
    f"{SERVING}runtime_latency": {"model_name", "API", "runtime"},
    f"{SERVING}model_warmup_latency": {"model_path", "status"},
    f"{SERVING}batching_session:queuing_latency": {"thread_pool_name"},
}
METRICS = {
    **COUNTERS,
    **{
        f"{name}_{part}": labels | ({"le"} if part == "bucket" else set())
        for name, labels in HISTOGRAMS.items()
        for part in ("bucket", "sum", "count")
    },
    "up": set(),
}
# What the Prometheus operator adds to each, and the monitor's own.
TARGET_LABELS = {"namespace", "pod", "service", "job", "instance", "endpoint", "container", "track"}
STATUSES = {*StatusCode.__members__, "success", "fail"}
PROMTOOL = shutil.which("promtool")


def rules():
    [resource] = kustomize.load(MONITORING / "alerts.yaml")
    return [rule for group in resource["spec"]["groups"] for rule in group["rules"]]


def dashboard():
    return json.loads((MONITORING / "dashboard.json").read_text(encoding="utf-8"))


def queries():
    """Every query by where it is; Grafana's variables are filled in as Grafana does."""
    yield from ((rule["alert"], rule["expr"]) for rule in rules())
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            filled = (
                target["expr"]
                .replace("$__rate_interval", "1m")
                .replace("$namespace", "parlance")
                .replace("$model", "intents|taxi")
            )
            yield f"{panel['title']} {target['refId']}", filled


QUERIES = dict(queries())


def nodes(query, kind):
    """The nodes of one kind in a query, or in a part of one."""
    found = []
    promql_parser.walk(promql_parser.parse(query) if isinstance(query, str) else query, found.append)
    return [node for node in found if isinstance(node, kind)]


def metrics(query):
    """The names of the metrics in a query, or in a part of one."""
    return {selector.name for selector in nodes(query, VectorSelector)}


@pytest.mark.parametrize("place", QUERIES)
class TestQueries:
    def test_metrics_and_their_labels_exist(self, place):
        assert metrics(QUERIES[place])
        for selector in nodes(QUERIES[place], VectorSelector):
            assert selector.name in METRICS
            for matcher in selector.matchers.matchers:
                assert matcher.name in METRICS[selector.name] | TARGET_LABELS
                assert matcher.name != "status" or set(matcher.value.split("|")) <= STATUSES

    def test_what_is_grouped_by_exists(self, place):
        for node in nodes(QUERIES[place], AggregateExpr):
            known = TARGET_LABELS.union(*(METRICS[name] for name in metrics(node.expr)))
            assert not node.modifier or set(node.modifier.labels) <= known

    def test_quantiles_are_taken_of_buckets(self, place):
        for call in nodes(QUERIES[place], Call):
            if call.func.name == "histogram_quantile":
                assert "le" in call.args[1].modifier.labels
                assert all(name.endswith("_bucket") for name in metrics(call.args[1]))

    def test_counters_are_looked_at_as_rates(self, place):
        """The sum over servers of a counter that restarts with each of them means nothing."""
        rates = [call for call in nodes(QUERIES[place], Call) if call.func.name in ("rate", "increase")]
        rated = set().union(*(metrics(call) for call in rates))
        used = metrics(QUERIES[place])
        # Loads happen a few times in the life of a server, and increase() does not see what a new counter starts with.
        rare = {"up", *(name for name in used if "model_path" in METRICS[name])}
        assert used - rare <= rated


class TestAlerts:
    def test_every_alert_says_what_to_do(self):
        names = [rule["alert"] for rule in rules()]
        assert len(names) == len(set(names))
        for rule in rules():
            assert rule["labels"]["severity"] in ("critical", "warning")
            assert rule["annotations"].keys() == {"summary", "description"}

    def test_texts_use_labels_the_query_keeps(self):
        for rule in rules():
            kept = {label for node in nodes(rule["expr"], AggregateExpr) for label in node.modifier.labels}
            used = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
            assert used <= (kept or TARGET_LABELS), rule["alert"]

    @pytest.mark.skipif(PROMTOOL is None, reason="needs promtool")
    def test_they_fire_when_they_should(self, tmp_path):
        [resource] = kustomize.load(MONITORING / "alerts.yaml")
        (tmp_path / "rules.yml").write_text(yaml.safe_dump(resource["spec"]), encoding="utf-8")
        shutil.copy(CASES, tmp_path)
        for command, name in (("check", "rules.yml"), ("test", CASES.name)):
            shown = subprocess.run([PROMTOOL, command, "rules", name], capture_output=True, text=True, check=False, cwd=tmp_path)
            assert shown.returncode == 0, shown.stdout + shown.stderr

    def test_every_alert_has_a_case(self):
        [cases] = kustomize.load(CASES)
        tested = {case["alertname"] for test in cases["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]}
        assert tested == {rule["alert"] for rule in rules()}


class TestDashboard:
    def test_panels_have_numbers_of_their_own_and_do_not_overlap(self):
        panels = dashboard()["panels"]
        assert len({panel["id"] for panel in panels}) == len(panels)
        taken = set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {
                (x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert max(x for x, _ in cells) < 24, panel["title"]
            taken |= cells

    def test_latencies_are_shown_in_their_unit(self):
        for panel in dashboard()["panels"]:
            latencies = [
                target
                for target in panel.get("targets", [])
                if "histogram_quantile" in target["expr"] or "latency_sum" in target["expr"]
            ]
            assert not latencies or panel["fieldConfig"]["defaults"]["unit"] == "µs", panel["title"]

    def test_every_target_asks_the_chosen_prometheus(self):
        board = dashboard()
        variables = {variable["name"]: variable for variable in board["templating"]["list"]}
        assert variables.keys() == {"datasource", "namespace", "model"}
        for panel in board["panels"]:
            assert len({target["refId"] for target in panel.get("targets", [])}) == len(panel.get("targets", []))
            for target in panel.get("targets", []):
                assert target["datasource"]["uid"] == "${datasource}"
                assert set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"} <= variables.keys()
        for name in ("namespace", "model"):
            [metric] = re.findall(r"label_values\(([:\w]+)", variables[name]["definition"])
            assert metric in METRICS

    def test_grafana_finds_it(self):
        [config_map] = [object_ for object_ in kustomize.build(MONITORING) if object_["kind"] == "ConfigMap"]
        assert config_map["metadata"]["labels"] == {"grafana_dashboard": "1"}
        assert len(json.dumps(config_map)) < 2**20, "what a ConfigMap can hold"


def test_the_monitor_finds_the_servers_once_each():
    [monitor] = kustomize.load(MONITORING / "service-monitor.yaml")
    objects = kustomize.build(kustomize.DEPLOY / "overlays/istio")
    services = [object_ for object_ in objects if object_["kind"] == "Service"]
    [port] = [endpoint["port"] for endpoint in monitor["spec"]["endpoints"]]
    found = [
        service["metadata"]["name"]
        for service in services
        if monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
        and port in {named["name"] for named in service["spec"]["ports"]}
    ]
    # Prometheus' label `job` is the Service's name, which the alerts ask for.
    assert found == ["tensorflow-serving"]
    assert all(f'job="{found[0]}"' in query for query in QUERIES.values() if re.search(r"\bup\b", query))
    for label in monitor["spec"]["podTargetLabels"]:
        assert all(
            label in object_["spec"]["template"]["metadata"]["labels"] for object_ in objects if object_["kind"] == "Deployment"
        )


def test_the_embedded_server_has_the_same_metrics():
    """What is tried on a laptop is what is watched in production; TensorFlow's own counters it cannot read."""
    served = Metrics()
    served.know_models(["intents"])
    served.observe_request("intents", "Predict", "GRPC", 0.001, StatusCode.OK)
    served.observe_run("intents", "Predict", 0.001)
    served.observe_warm_up("/models/intents/7", "OK", 0.1, 8)
    served.observe_batch(4, 1, [0.001], "batches")
    labels = {
        name: set(re.findall(r'(\w+)="', pairs))
        for name, pairs in re.findall(r"^([:\w]+)\{(.*)\} ", served.prometheus_text(), re.M)
    }
    for name in METRICS:
        if name.startswith(SERVING):
            assert labels[name] == METRICS[name], name
