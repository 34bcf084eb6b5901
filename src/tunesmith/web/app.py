"""The HTTP application: routes, key, limits, and errors in OpenAI's envelope."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tunesmith.core.errors import TunesmithError
from tunesmith.jobs import FineTuning
from tunesmith.serve import Gateway
from tunesmith.web.envelope import on_http_error, on_tunesmith_error, on_validation_error
from tunesmith.web.guard import Guard
from tunesmith.web.routes import files, fine_tuning, generate, health, models, tuned_models


def create_app(gateway: Gateway, api_key: str, service: FineTuning | None = None) -> FastAPI:
    """The application that answers for ``gateway``.

    Args:
        gateway: started by whoever runs the application.
        api_key: what every request but ``/health`` has to carry.
        service: files, jobs and tuned models; None: this server only answers.
    """
    app = FastAPI(
        title="Tunesmith",
        openapi_url=None,
        redirect_slashes=False,
        # The framework can send traces over the network when an environment variable says so: nothing phones home.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        exception_handlers={
            TunesmithError: on_tunesmith_error,
            HTTPException: on_http_error,
            RequestValidationError: on_validation_error,
        },
    )
    app.add_middleware(Guard, api_key=api_key, max_body_bytes=gateway.config.max_body_bytes)
    for resource in (health, models, generate):
        app.include_router(resource.router(gateway))
    if service is not None:
        for router in (files.router(service), fine_tuning.router(service), tuned_models.router(service)):
            app.include_router(router)
    return app
