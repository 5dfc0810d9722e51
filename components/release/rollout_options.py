"""The `release.rollout:` section of a pipeline file."""

from pydantic import Field

from components.options import Options


class RolloutRules(Options):
    """When a canary is as good as the stable version; see `components.release.canary` for what is compared and how.

    Attributes:
      observe_seconds: How long the servers' metrics are watched before the one decision is taken.
      min_requests: Requests that stable and canary must each have answered in that time; below it nothing is decided.
      max_error_rate_increase: How much higher the canary's share of failed requests may be: 0.01 is one in a hundred.
      max_p99_ratio: How many times longer the canary's 99th percentile of latency may be.
      max_score_shift: How far the distributions of the best class's score may be apart: the largest difference of their cumulative
        shares, 0 to 1. None leaves scores out, for a canary that is meant to score differently.
      confidence: Of the intervals that are compared with these limits.
    """

    observe_seconds: float = Field(default=300.0, gt=0)
    min_requests: int = Field(default=500, ge=1)
    max_error_rate_increase: float = Field(default=0.01, ge=0, le=1)
    max_p99_ratio: float = Field(default=2.0, gt=0)
    max_score_shift: float | None = Field(default=0.15, gt=0, le=1)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)


class RolloutOptions(Options):
    """How versions come into use and go.

    Attributes:
      keep: So many of the newest versions stay on disk when others are deleted, besides those that are still needed.
      load_timeout_seconds: How long servers may take to load a version before the change is taken back.
      rules: When a canary is promoted or rolled back.
    """

    keep: int = Field(default=10, ge=1)
    load_timeout_seconds: float = Field(default=120.0, gt=0)
    rules: RolloutRules = RolloutRules()
