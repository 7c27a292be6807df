"""Opens the store that the settings name."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, LocalStore, S3Store

from rcommerce.errors import SettingsError
from rcommerce.settings.schema import Media
from rcommerce.storage.objects import Objects, Store

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

CONNECT_TIMEOUT_S = 2
RETRIES = 2


def open_objects(media: Media) -> Objects:
    """The store, not accessed yet. Raises SettingsError.

    Credentials that the settings lack come from the cloud's usual places: the environment
    (AWS_ACCESS_KEY_ID, …), or the machine's role.
    """
    try:
        store, name = _store(media)
    except (BaseError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise SettingsError(f"media: {media.storage_type} cannot be used: {reason}") from error
    return Objects(store, name, media.timeout_secs)


def _store(media: Media) -> tuple[Store, str]:
    if media.storage_type == "Local":
        path = media.local_path.absolute()
        path.mkdir(parents=True, exist_ok=True)
        return LocalStore(path, automatic_cleanup=True), str(path)
    client: ClientConfig = {
        "timeout": timedelta(seconds=media.timeout_secs),
        "connect_timeout": timedelta(seconds=CONNECT_TIMEOUT_S),
    }
    retry: RetryConfig = {
        "max_retries": RETRIES,
        "retry_timeout": timedelta(seconds=media.timeout_secs),
        "backoff": {
            "init_backoff": timedelta(milliseconds=100),
            "max_backoff": timedelta(seconds=1),
        },
    }
    if media.storage_type == "S3":
        s3 = {
            "region": media.s3_region,
            "endpoint": media.s3_endpoint,
            "access_key_id": media.s3_access_key,
            "secret_access_key": media.s3_secret_key,
            # A server of one's own has no host name per bucket.
            "virtual_hosted_style_request": None if media.s3_endpoint is None else False,
        }
        client["allow_http"] = (media.s3_endpoint or "").startswith("http://")
        bucket = media.s3_bucket or ""
        return (
            S3Store(bucket, config=_given(s3), client_options=client, retry_config=retry),
            f"s3://{bucket}",
        )
    if media.storage_type == "Gcs":
        gcs = {"service_account": media.gcs_service_account_file}
        bucket = media.gcs_bucket or ""
        return (
            GCSStore(bucket, config=_given(gcs), client_options=client, retry_config=retry),
            f"gs://{bucket}",
        )
    azure = {
        "account_name": media.azure_account,
        "account_key": media.azure_access_key,
        "endpoint": media.azure_endpoint,
    }
    client["allow_http"] = (media.azure_endpoint or "").startswith("http://")
    container = media.azure_container or ""
    return (
        AzureStore(container, config=_given(azure), client_options=client, retry_config=retry),
        f"azure://{container}",
    )


def _given(config: dict[str, Any]) -> Any:
    return {
        name: str(value) if not isinstance(value, bool) else value
        for name, value in config.items()
        if value is not None
    }
