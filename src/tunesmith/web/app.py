"""The HTTP application: routes, key, limits, and errors in OpenAI's envelope."""

from __future__ import annotations

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from tunesmith.core.errors import TunesmithError
from tunesmith.jobs import FineTuning
from tunesmith.serve import Gateway, Keyring
from tunesmith.web.access import require_rules
from tunesmith.web.envelope import on_http_error, on_tunesmith_error, on_validation_error
from tunesmith.web.guard import Guard
from tunesmith.web.routes import (
    admin,
    embeddings,
    files,
    fine_tuning,
    generate,
    health,
    models,
    operations,
    tuned_models,
)


def create_app(gateway: Gateway, keyring: Keyring, service: FineTuning | None = None) -> FastAPI:
    """The application that answers for ``gateway``.

    Args:
        gateway: started by whoever runs the application.
        keyring: the keys that requests may carry; only what `tunesmith.web.access` calls open needs none.
        service: files, jobs and tuned models; None: this server only answers.

    Raises:
        TunesmithError: a route that no rule of access covers.
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
    limits = gateway.config
    app.add_middleware(
        Guard, keyring=keyring, max_body_bytes=limits.max_body_bytes, max_upload_bytes=limits.max_upload_bytes
    )
    routers = [resource.router(gateway) for resource in (health, models, generate, embeddings, operations)]
    if gateway.traffic is not None:
        routers.append(admin.router(gateway.traffic, gateway.traffic.workspace))
    if service is not None:
        if gateway.hot is not None:
            service.serve_by(gateway.hot)
        routers += [files.router(service), fine_tuning.router(service), tuned_models.router(service)]
    for router in routers:
        require_rules(router.routes)
        app.include_router(router)
    return app
