"""Figures of operation for Prometheus: vLLM's names where it has one, so that its dashboards work, ours beside them.

Labels say which adapter, arm and tenant; of each, at most 200 values are told apart, and the rest are "other".
"""

from __future__ import annotations

import threading
from typing import final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from tunesmith.core.records import Trace

MOST_VALUES = 200
WHO = ("model_name", "adapter", "arm", "tenant")
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@final
class Bounded:
    """The first values of a label as they are, all later ones as "other": a label never grows without end."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most, self._known, self._lock = most, set[str](), threading.Lock()

    def __call__(self, value: str) -> str:
        """The value, or "other"."""
        with self._lock:
            if value not in self._known and len(self._known) < self._most - 1:
                self._known.add(value)
            return value if value in self._known else "other"


@final
class Metrics:
    """Everything that one server counts. Threads may share it.

    Args:
        model_name: name of the base.
    """

    def __init__(self, model_name: str) -> None:
        self._model_name = model_name
        self._registry = CollectorRegistry()
        self._adapter, self._arm, self._tenant, self._alias = Bounded(), Bounded(), Bounded(), Bounded()
        self._running = self._gauge("vllm:num_requests_running", "Answers that the engine works on.")
        self._waiting = self._gauge("vllm:num_requests_waiting", "Answers that wait for the engine.")
        self._prompt = self._counter("vllm:prompt_tokens", "Tokens of prompts.", WHO)
        self._made = self._counter("vllm:generation_tokens", "Tokens of answers.", WHO)
        self._queries = self._counter("vllm:prefix_cache_queries", "Prompt tokens looked for in the prefix cache.", WHO)
        self._hits = self._counter("vllm:prefix_cache_hits", "Prompt tokens found there.", WHO)
        self._success = self._counter("vllm:request_success", "Requests that ended.", (*WHO, "finished_reason"))
        self._first = self._histogram("vllm:time_to_first_token_seconds", "From a request to its first token.")
        self._between = self._histogram("vllm:inter_token_latency_seconds", "Between tokens, mean of each request.")
        self._whole = self._histogram("vllm:e2e_request_latency_seconds", "From a request to its end.")
        self._queued = self._histogram("vllm:request_queue_time_seconds", "Before the engine took a request on.")
        self._refused = self._counter("vllm:admission_rejections", "Requests turned away.", ("reason",))
        self._busy = self._counter("tunesmith:engine_seconds", "Time that the engine computed.", ())
        self._device = self._counter("tunesmith:device_seconds", "The same, by who it was for.", WHO)
        self._cost = self._counter("tunesmith:cost", "Cost of the requests, at price_per_hour.", WHO)
        self._splits = self._counter("tunesmith:split_assignments", "Requests to aliases.", ("alias", "arm"))
        self._taken_back = self._counter("tunesmith:rollbacks", "Arms that a guardrail took back.", ("alias",))
        self._feedback = self._counter("tunesmith:feedback", "Feedback on requests.", ("kind", "adapter", "arm"))

    def step(self, seconds: float, running: int, waiting: int) -> None:
        """The engine made a step."""
        self._busy.inc(seconds)
        self.load(running, waiting)

    def load(self, running: int, waiting: int) -> None:
        """What is running and waiting now."""
        self._running.set(running)
        self._waiting.set(waiting)

    def refused(self, reason: str) -> None:
        """A request was turned away."""
        self._refused.labels(reason).inc()

    def observe(self, trace: Trace) -> None:
        """A request is over."""
        adapter, arm, tenant = self._adapter(trace.model), self._arm(trace.arm), self._tenant(trace.tenant)
        who = (self._model_name, adapter, arm, tenant)
        self._prompt.labels(*who).inc(trace.prompt_tokens)
        self._made.labels(*who).inc(trace.completion_tokens)
        self._queries.labels(*who).inc(trace.prompt_tokens)
        self._hits.labels(*who).inc(min(trace.cached_tokens, trace.prompt_tokens))
        self._success.labels(*who, trace.finish_reason).inc()
        self._device.labels(*who).inc(trace.device_seconds)
        self._cost.labels(*who).inc(trace.cost or 0.0)
        self._whole.labels(*who).observe(trace.seconds)
        self._queued.labels(*who).observe(trace.seconds_queued)
        if trace.seconds_to_first_token:
            self._first.labels(*who).observe(trace.seconds_to_first_token)
            if trace.completion_tokens > 1:
                rest = trace.seconds - trace.seconds_to_first_token
                self._between.labels(*who).observe(rest / (trace.completion_tokens - 1))
        if trace.alias:
            self._splits.labels(self._alias(trace.alias), arm).inc()

    def taken_back(self, alias: str) -> None:
        """A guardrail took an arm back."""
        self._taken_back.labels(self._alias(alias)).inc()

    def judged(self, kind: str, model: str, arm: str) -> None:
        """Somebody said what they think of an answer."""
        self._feedback.labels(kind, self._adapter(model), self._arm(arm)).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, help: str) -> Gauge:
        return Gauge(name, help, registry=self._registry)

    def _counter(self, name: str, help: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, help, labels, registry=self._registry)

    def _histogram(self, name: str, help: str) -> Histogram:
        return Histogram(name, help, WHO, buckets=_SECONDS, registry=self._registry)
