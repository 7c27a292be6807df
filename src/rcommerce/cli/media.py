"""rcommerce media: copy and clean up the files of uploads."""

import asyncio
import json
import sys
from enum import StrEnum
from typing import Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from rcommerce.cli.session import ConfigFile, Json, err, out, with_services
from rcommerce.cli.session import settings as read_settings
from rcommerce.commerce.media import paths
from rcommerce.commerce.media.files import TYPES
from rcommerce.commerce.media.service import all_orphans, remove_orphan
from rcommerce.commerce.shop import Services
from rcommerce.settings.load import require_complete
from rcommerce.settings.schema import Media
from rcommerce.storage.copying import copied
from rcommerce.storage.objects import Objects
from rcommerce.storage.opening import open_objects

app = typer.Typer(help="Manage uploaded files.", no_args_is_help=True)


class Target(StrEnum):
    """Where to."""

    S3 = "s3"
    GCS = "gcs"
    AZURE = "azure"
    LOCAL = "local"


TYPE_OF = {Target.S3: "S3", Target.GCS: "Gcs", Target.AZURE: "Azure", Target.LOCAL: "Local"}


@app.command()
def sync(
    to: Annotated[Target, typer.Option(help="The store to copy to, by its keys in [media].")],
    source: Annotated[
        Target, typer.Option("--from", help="The store to copy from.")
    ] = Target.LOCAL,
    remove: Annotated[
        bool, typer.Option("--remove", help="Remove each file from the source after it was copied.")
    ] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """Copy all files to another store.

    Existing files are not copied again, so it resumes after an interruption. To change the store of
    a running shop: sync, change storage_type and restart, then sync again.

    Examples:

      rcommerce media sync --to s3

      rcommerce media sync --to s3 --remove

      rcommerce media sync --from s3 --to local
    """
    media = read_settings(config).settings.media
    if to == source:
        raise typer.BadParameter("is the store to copy from", param_hint="--to")
    origin, target = _store(media, source), _store(media, to)
    done = asyncio.run(_sync(origin, target, remove=remove, quiet=as_json))
    if as_json:
        print(json.dumps(done))
        return
    out.print(
        f"{done['copied']:,} files copied, {done['were_there']:,} were there"
        f" ({done['bytes_copied'] / 1e6:,.1f} MB sent) from {origin.name} to {target.name}"
    )


def _store(media: Media, which: Target) -> Objects:
    given = {name: getattr(media, name) for name in media.__struct_fields__}
    chosen = Media(**{**given, "storage_type": TYPE_OF[which]})
    require_complete(chosen)
    return open_objects(chosen)


async def _sync(origin: Objects, target: Objects, *, remove: bool, quiet: bool) -> dict[str, int]:
    done = {"copied": 0, "were_there": 0, "bytes_copied": 0, "removed": 0}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, TimeRemainingColumn(), console=err, disable=quiet) as progress:
        counting = progress.add_task("counting", total=None)
        total = 0
        async for page in origin.list():
            total += sum(each.size_bytes for each in page if _content_type(each.key))
            progress.update(counting, completed=total)
        progress.remove_task(counting)
        task = progress.add_task("copying", total=total)
        async for each, was_copied in copied(origin, target, _content_type):
            done["copied" if was_copied else "were_there"] += 1
            done["bytes_copied"] += each.size_bytes if was_copied else 0
            if remove:
                await origin.delete(each.key)
                done["removed"] += 1
            progress.advance(task, each.size_bytes)
    return done


def _content_type(key: str) -> str | None:
    name = paths.parsed(key)
    return None if name is None else TYPES.get(name.extension)


@app.command()
def orphans(
    remove: Annotated[bool, typer.Option("--remove", help="Remove the files.")] = False,
    config: ConfigFile = None,
    as_json: Json = False,
) -> None:
    """List files without an upload, at least a day old.

    Workers remove them every night.

    Examples:

      rcommerce media orphans

      rcommerce media orphans --remove --json
    """

    async def work(services: Services) -> dict[str, int]:
        found = {"files": 0, "bytes": 0, "removed": 0}
        async for shop, left in all_orphans(services):
            for each in left:
                found["files"] += 1
                found["bytes"] += each.size_bytes
                if not as_json and sys.stdout.isatty():
                    out.print(each.key)
                if remove:
                    await remove_orphan(shop, each)
                    found["removed"] += 1
        return found

    found = with_services(config, work)
    if as_json:
        print(json.dumps(found))
        return
    what = f"{found['files']:,} files of {found['bytes'] / 1e6:,.1f} MB that no shop knows of"
    out.print(f"{what}; removed" if remove else f"{what}; remove them with --remove")
