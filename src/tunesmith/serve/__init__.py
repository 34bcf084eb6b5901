"""Verb: a release answers requests.

    engine + renderer → `served_models` → `Gateway` → `run` (until a signal) or `start_server` (in the background)

Light to import: no torch, no web framework.
"""

from tunesmith.serve.account import Account, RemoteJob, open_account
from tunesmith.serve.answer import Answer, Choice, Piece, TokenScore
from tunesmith.serve.config import Config
from tunesmith.serve.deployments import (
    Arm,
    Deployment,
    Guardrail,
    change,
    deploy,
    deployed,
    deployments,
    require_deployed,
    roll_back,
)
from tunesmith.serve.embeddings import Embeddings
from tunesmith.serve.errors import RequestError
from tunesmith.serve.feedback import Feedback
from tunesmith.serve.gateway import Gateway
from tunesmith.serve.keys import (
    SCOPES,
    ApiKey,
    Keyring,
    Principal,
    StoredKey,
    add_key,
    api_key,
    open_keyring,
    revoke_key,
    stored_keys,
)
from tunesmith.serve.metrics import CONTENT_TYPE as METRICS_TYPE
from tunesmith.serve.models import ServedModel, served_models
from tunesmith.serve.opening import (
    make_renderer,
    open_chat,
    open_embeddings,
    open_engine,
    open_gateway,
    open_samplers,
    public_name,
    subject_renderer,
)
from tunesmith.serve.options import Caller, Options, ToolUse
from tunesmith.serve.probe import ProbeCheck, probe
from tunesmith.serve.remote import EndpointError, Remote, is_remote, open_remote
from tunesmith.serve.server import Server, bind, run, start_server
from tunesmith.serve.traffic import Traffic
from tunesmith.text.toolcalls import Tool

__all__ = [
    "METRICS_TYPE",
    "SCOPES",
    "Account",
    "Answer",
    "ApiKey",
    "Arm",
    "Caller",
    "Choice",
    "Config",
    "Deployment",
    "Embeddings",
    "EndpointError",
    "Feedback",
    "Gateway",
    "Guardrail",
    "Keyring",
    "Options",
    "Piece",
    "Principal",
    "ProbeCheck",
    "Remote",
    "RemoteJob",
    "RequestError",
    "ServedModel",
    "Server",
    "StoredKey",
    "TokenScore",
    "Tool",
    "ToolUse",
    "Traffic",
    "add_key",
    "api_key",
    "bind",
    "change",
    "deploy",
    "deployed",
    "deployments",
    "is_remote",
    "make_renderer",
    "open_account",
    "open_chat",
    "open_embeddings",
    "open_engine",
    "open_gateway",
    "open_keyring",
    "open_remote",
    "open_samplers",
    "probe",
    "public_name",
    "require_deployed",
    "revoke_key",
    "roll_back",
    "run",
    "served_models",
    "start_server",
    "stored_keys",
    "subject_renderer",
]
