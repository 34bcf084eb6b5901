"""Verb: a release answers requests.

    engine + renderer → `served_models` → `Gateway` → `run` (until a signal) or `start_server` (in the background)

Light to import: no torch, no web framework.
"""

from tunesmith.serve.account import Account, RemoteJob, open_account
from tunesmith.serve.answer import Answer, Choice, Piece
from tunesmith.serve.config import Config
from tunesmith.serve.errors import RequestError
from tunesmith.serve.gateway import Gateway, Options
from tunesmith.serve.models import ServedModel, served_models
from tunesmith.serve.opening import (
    make_renderer,
    open_chat,
    open_engine,
    open_gateway,
    open_samplers,
    public_name,
    subject_renderer,
)
from tunesmith.serve.remote import EndpointError, Remote, is_remote, open_remote
from tunesmith.serve.server import ApiKey, Server, api_key, bind, run, start_server

__all__ = [
    "Account",
    "Answer",
    "ApiKey",
    "Choice",
    "Config",
    "EndpointError",
    "Gateway",
    "Options",
    "Piece",
    "Remote",
    "RemoteJob",
    "RequestError",
    "ServedModel",
    "Server",
    "api_key",
    "bind",
    "is_remote",
    "make_renderer",
    "open_account",
    "open_chat",
    "open_engine",
    "open_gateway",
    "open_remote",
    "open_samplers",
    "public_name",
    "run",
    "served_models",
    "start_server",
    "subject_renderer",
]
