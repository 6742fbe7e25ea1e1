"""The pages for people: the playground at /, the API's description at /docs. Nothing of them comes from elsewhere."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from crossrank.errors import MissingExtra
from crossrank.serve.options import ServeOptions

__all__ = ["add_pages"]

PLAYGROUND = Path(__file__).parent / "playground"
READS = ["GET", "HEAD"]
# A page that shows other people's text runs nobody's script but its own.
SAFE = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
}
# Swagger sets styles from its script, and its page starts it from a line within.
SWAGGER = {"Content-Security-Policy": "default-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'"}


def add_pages(app: FastAPI, options: ServeOptions) -> None:
    """Add the routes, unless the options say not to."""
    if not options.playground:
        return
    for path, name in (("/", "index.html"), ("/playground/app.js", "app.js"), ("/playground/style.css", "style.css")):
        _file(app, path, PLAYGROUND / name, SAFE)
    assets = _swagger()
    prefix = ("/" + options.url_prefix.strip("/")).rstrip("/")
    for name in ("swagger-ui-bundle.js", "swagger-ui.css", "favicon.png"):
        _file(app, f"/docs/{name}", assets / name, {})

    async def docs(request: Request) -> Response:
        root = request.scope.get("root_path", "") + prefix
        page = get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title="crossrank: API",
            swagger_js_url=f"{root}/docs/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/favicon.png",
        )
        page.headers.update(SWAGGER)
        return page

    app.add_api_route("/docs", docs, methods=READS, include_in_schema=False)


def _file(app: FastAPI, path: str, file: Path, headers: dict[str, str]) -> None:
    async def endpoint(request: Request) -> Response:
        return FileResponse(file, headers=headers)

    app.add_api_route(path, endpoint, methods=READS, include_in_schema=False)


def _swagger() -> Path:
    """Swagger UI's files, as the package fastapi-offline carries them; the package itself is not imported."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise MissingExtra("/docs needs fastapi-offline: pip install 'crossrank[serve]', or serve --no-playground")
    return Path(found.origin).parent / "static"
