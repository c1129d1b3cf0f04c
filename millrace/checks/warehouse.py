"""Checks of a warehouse: login, rights, clock, and one row that is copied from the lake."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import polars as pl

from millrace.base.disk import TemporaryFolder
from millrace.base.errors import ConfigurationError, MillraceError
from millrace.base.naming import literal, quote
from millrace.base.types import INT64, Column
from millrace.checks.check import Check
from millrace.checks.server import Server
from millrace.checks.tables import compare_clocks
from millrace.drivers.psycopg_errors import database_errors
from millrace.lake.batch import SCANS, Part
from millrace.lake.store import ObjectStore
from millrace.warehouse.dialect import Dialect
from millrace.warehouse.session import open_session
from millrace.warehouse.stage import Files, Stage

LEDGER_SCHEMA = "millrace"
_PROVISIONED = re.compile(r"(?P<name>[^.]+)\.[^.]+\.(?P<region>[a-z0-9-]+)\.redshift\.amazonaws\.com(\.cn)?")
_SERVERLESS = re.compile(r"(?P<name>[^.]+)\.\d{12}\.(?P<region>[a-z0-9-]+)\.redshift-serverless\.amazonaws\.com(\.cn)?")
_ROLE_REFUSED = re.compile(r"not authorized to (assume|get credentials)|is not associated", re.IGNORECASE)


@dataclass(frozen=True)
class LoadedWarehouse:
    """A warehouse, and what loads need of it."""

    server: Server
    connect: Callable[[], Any]
    dialect: Dialect
    iam_role: str
    """ARN of the role that COPY reads the lake with; '' for Postgres."""
    schemas: Sequence[str]
    """Schemas that the pipelines write to."""
    store: ObjectStore
    """The bucket that a row is copied from."""
    bucket_region: Callable[[], str]
    """Returns the region of that bucket."""

    def checks(self) -> list[Check]:
        """Return the checks of the warehouse, in order."""
        place = self.server.place
        return [
            *([Check(place, "region", "Compares the bucket's region.", self._compare_regions)] if self._region else []),
            *self.server.checks(),
            Check(place, "login", "Logs in and asks for the version.", self._login, True),
            Check(place, "rights", "Looks at the rights on database and schemas.", self._check_rights),
            Check(place, "clock", "Compares its clock with this machine's.", self._compare_clocks),
            Check(place, "copy", "Copies one row from the lake into a temporary table.", self._copy),
        ]

    @property
    def _region(self) -> str:
        """Region of a Redshift cluster by its host; '' for any other host."""
        match = _PROVISIONED.fullmatch(self.server.host) or _SERVERLESS.fullmatch(self.server.host)
        return match["region"] if match else ""

    def _compare_regions(self) -> str:
        bucket_region = self.bucket_region()
        if bucket_region != self._region:
            raise ConfigurationError(
                f"the warehouse is in {self._region} and the bucket in {bucket_region}: COPY of Parquet reads buckets "
                "of its own region only",
                remedy=f'make an environment with `region = "{self._region}"` in its file (buckets do not move)',
            )
        return f"warehouse and bucket are in {bucket_region}"

    def _login(self) -> str:
        try:
            version = str(self._ask("SELECT version()"))
        except MillraceError as error:
            raise self.server.correct_credentials(error) from None
        redshift = re.search(r"Redshift [\d.]+", version)
        return f"{redshift[0] if redshift else version.partition(' on ')[0]}, as {self.server.user}"

    def _check_rights(self) -> str:
        missing = [self._database_grant("TEMPORARY")] if not self._may_in_database("TEMP") else []
        for schema in dict.fromkeys((LEDGER_SCHEMA, *self.schemas)):
            if not self._ask(f"SELECT count(*) FROM pg_catalog.pg_namespace WHERE nspname = {literal(schema)}"):
                missing += [self._database_grant("CREATE")] if not self._may_in_database("CREATE") else []
            elif not self._ask(f"SELECT has_schema_privilege({literal(schema)}, 'CREATE')"):
                missing.append(f"GRANT USAGE, CREATE ON SCHEMA {quote(schema)} TO {self.server.user}")
        if missing:
            statements = "; ".join(dict.fromkeys(missing))
            raise ConfigurationError(f"{self.server.user} lacks rights for a load", remedy=f"`{statements}`")
        return "temporary tables and the schemas of the pipelines"

    def _may_in_database(self, right: str) -> bool:
        return bool(self._ask(f"SELECT has_database_privilege(current_database(), {literal(right)})"))

    def _database_grant(self, right: str) -> str:
        return f"GRANT {right} ON DATABASE {quote(str(self._ask('SELECT current_database()')))} TO {self.server.user}"

    def _compare_clocks(self) -> str:
        return compare_clocks(self._ask(f"SELECT {self.dialect.clock}").replace(tzinfo=UTC), self.server.place)

    def _copy(self) -> str:
        prefix = f"{SCANS}/check-{secrets.token_hex(8)}"
        files = Files("millrace_check", [ROW_NUMBER], [self._write_row(prefix)], {}, prefix, self.server.place)
        try:
            with open_session(self.connect, self.server.place) as connection:
                Stage(connection, self.store, self.dialect, self.iam_role).fill(files)
        except MillraceError as error:
            if not _ROLE_REFUSED.search(error.problem):
                raise
            raise ConfigurationError(error.problem, remedy=self._associate_role()) from None
        return "one row was copied" + (f" by {self.iam_role}" if self.iam_role else "")

    def _write_row(self, prefix: str) -> Part:
        with TemporaryFolder() as directory:
            path, key = directory / "row.parquet", f"{prefix}/row.parquet"
            pl.DataFrame({ROW_NUMBER.name: [1]}).write_parquet(path)
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            return Part(key, 1, self.store.put_file(path, key), digest, (ROW_NUMBER.name,))

    def _associate_role(self) -> str:
        return associate_role(self.server.host, self.iam_role)

    def _ask(self, query: str) -> Any:
        with database_errors(self.server.place), closing(self.connect()) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchone()[0]


ROW_NUMBER = Column("row_number", "row_number", INT64)


def associate_role(host: str, role_arn: str) -> str:
    """Return the command that associates a role with the Redshift cluster or workgroup of this host."""
    if match := _SERVERLESS.fullmatch(host):
        return (
            f"`aws redshift-serverless update-namespace --region {match['region']} --namespace-name NAMESPACE_OF_"
            f"{match['name']} --iam-roles {role_arn}` (it replaces the list: name the roles that are there as well)"
        )
    match = _PROVISIONED.fullmatch(host)
    cluster, region = (match["name"], f" --region {match['region']}") if match else ("CLUSTER", "")
    return (
        f"associate the role: `aws redshift modify-cluster-iam-roles{region} --cluster-identifier {cluster} "
        f"--add-iam-roles {role_arn}`"
    )
