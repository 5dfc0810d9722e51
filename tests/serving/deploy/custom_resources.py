"""JSON schemas of the custom resources in serving/deploy: closed, of the fields we use, with the types their definitions give them.

No package for Python brings the definitions of Istio and the Prometheus operator. These notice a misspelt or misplaced field, which
a cluster's own definitions would silently drop.
"""

from __future__ import annotations

from typing import Any

STRING = {"type": "string", "minLength": 1}
STRINGS = {"type": "object", "additionalProperties": {"type": "string"}}
# As Istio and Prometheus write them: 10s, 1m30s.
DURATION = {"type": "string", "pattern": "^([0-9]+(ms|[smhd]))+$"}
PERCENTAGE = {"type": "integer", "minimum": 0, "maximum": 100}


def closed(required: str = "", **properties: Any) -> dict[str, Any]:
    """An object of exactly these properties, of which the required ones (names, separated by blanks) must be there."""
    return {"type": "object", "properties": properties, "required": required.split(), "additionalProperties": False}


def listed(items: Any) -> dict[str, Any]:
    """A list with something in it."""
    return {"type": "array", "items": items, "minItems": 1}


def resource(api_version: str, kind: str, spec: Any) -> dict[str, Any]:
    """A whole object of a kind."""
    metadata = closed("name", name=STRING, namespace=STRING, labels=STRINGS)
    return closed(
        "apiVersion kind metadata spec", apiVersion={"const": api_version}, kind={"const": kind}, metadata=metadata, spec=spec
    )


_DESTINATION = closed("host", host=STRING, subset=STRING, port=closed("number", number={"type": "integer"}))
_MATCH = closed(headers={"type": "object", "additionalProperties": closed("exact", exact=STRING)}, port={"type": "integer"})
_RULE = closed(
    "alert expr annotations labels", alert=STRING, expr=STRING, annotations=STRINGS, labels=STRINGS, **{"for": DURATION}
)

SCHEMAS = {
    "VirtualService": resource(
        "networking.istio.io/v1",
        "VirtualService",
        closed(
            "hosts http",
            hosts=listed(STRING),
            http=listed(
                closed(
                    "route",
                    name=STRING,
                    match=listed(_MATCH),
                    route=listed(closed("destination", destination=_DESTINATION, weight=PERCENTAGE)),
                    retries=closed(
                        "attempts", attempts={"type": "integer", "minimum": 0}, retryOn=STRING, perTryTimeout=DURATION
                    ),
                    timeout=DURATION,
                )
            ),
        ),
    ),
    "DestinationRule": resource(
        "networking.istio.io/v1",
        "DestinationRule",
        closed(
            "host",
            host=STRING,
            trafficPolicy=closed(
                loadBalancer=closed("simple", simple={"enum": ["LEAST_REQUEST", "ROUND_ROBIN", "RANDOM", "PASSTHROUGH"]}),
                outlierDetection=closed(
                    consecutiveGatewayErrors={"type": "integer", "minimum": 0},
                    interval=DURATION,
                    baseEjectionTime=DURATION,
                    maxEjectionPercent=PERCENTAGE,
                ),
            ),
            subsets=listed(closed("name labels", name=STRING, labels=STRINGS)),
        ),
    ),
    "ServiceMonitor": resource(
        "monitoring.coreos.com/v1",
        "ServiceMonitor",
        closed(
            "selector endpoints",
            selector=closed("matchLabels", matchLabels=STRINGS),
            endpoints=listed(closed("port", port=STRING, path=STRING, interval=DURATION, scrapeTimeout=DURATION)),
            podTargetLabels=listed(STRING),
        ),
    ),
    "PrometheusRule": resource(
        "monitoring.coreos.com/v1",
        "PrometheusRule",
        closed("groups", groups=listed(closed("name rules", name=STRING, rules=listed(_RULE)))),
    ),
}
