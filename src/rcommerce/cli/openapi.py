"""rcommerce openapi: print the OpenAPI document."""

from pathlib import Path
from typing import Annotated

import msgspec
import typer

from rcommerce.cli.session import ConfigFile
from rcommerce.errors import StartError
from rcommerce.settings import load


def openapi(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A file to write. Default: standard output.")
    ] = None,
    config: ConfigFile = None,
) -> None:
    """Print the OpenAPI document; no database or server is needed.

    Examples:

      rcommerce openapi --out openapi.json

      npx openapi-typescript openapi.json --output shop.d.ts
    """
    from rcommerce.app import api_document  # the HTTP framework, for this command only

    text = msgspec.json.format(api_document(load(config).settings), indent=1)
    if out is None:
        print(text.decode())
        return
    try:
        out.write_bytes(text + b"\n")
    except OSError as error:
        raise StartError(f"{out} cannot be written: {error.strerror}") from error
