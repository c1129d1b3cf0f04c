"""Where the leases of a warehouse's streams are kept: in itself, or in the lake, so that it may sleep."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import get_args

from sqlalchemy.engine import URL

from millrace.base.errors import ConfigurationError
from millrace.blocks.redshift_iam import REDSHIFT_IAM_DRIVER, access_by_iam
from millrace.lake.store import ChangingObjects
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.keepers.keeper import Keeper, KeptIn, OpenSession
from millrace.warehouse.keepers.lake_copy import LakeCopy
from millrace.warehouse.keepers.lake_keeper import LakeKeeper
from millrace.warehouse.keepers.warehouse_keeper import WarehouseKeeper

PLACES: tuple[KeptIn, ...] = get_args(KeptIn)
SERVERLESS_HOSTS = (".redshift-serverless.amazonaws.com", ".redshift-serverless.amazonaws.com.cn")


def choose_place(setting: str, url: URL, where: str) -> KeptIn:
    """Return where leases are kept by the value of WAREHOUSE_LEASES; '': in the lake, if the warehouse is Serverless.

    Raises ConfigurationError, naming ``where`` it was read, for any other value.
    """
    for place in PLACES:
        if setting == place:
            return place
    if setting:
        raise refuse_place(setting, where)
    return "lake" if _is_serverless(url) else "warehouse"


def refuse_place(setting: str, where: str) -> ConfigurationError:
    """Return the error of a value of WAREHOUSE_LEASES that means nothing."""
    return ConfigurationError(
        f"leases are not kept in {setting!r}", place=where, remedy=f"choose from {', '.join(PLACES)}, or unset it"
    )


def choose_keeper(kept_in: KeptIn, url: URL, objects: ChangingObjects) -> Callable[[OpenSession, Dialect], Keeper]:
    """Return what makes the keeper of the leases of the warehouse at a URL. ``objects`` are those of the lake."""
    address = make_address(url)
    if kept_in == "lake":
        return partial(LakeKeeper.of, objects=objects, address=address)
    return partial(WarehouseKeeper, lake=LakeCopy.of(objects, address))


def make_address(url: URL) -> str:
    """Return by what the lake tells warehouses apart: host, port and database."""
    return f"{url.host}:{url.port}/{url.database}"


def _is_serverless(url: URL) -> bool:
    if url.drivername == REDSHIFT_IAM_DRIVER:
        return bool(access_by_iam(url, REDSHIFT_IAM_DRIVER).workgroup)
    return (url.host or "").lower().endswith(SERVERLESS_HOSTS)
