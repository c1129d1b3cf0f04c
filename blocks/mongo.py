"""Block type for a MongoDB (or Amazon DocumentDB) server."""

from __future__ import annotations

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

from millrace.drivers import mongo_client


class MongoDB(Block):
    """A MongoDB or Amazon DocumentDB server.

    A server that is not this machine is asked for TLS, and verified, unless the URL or the block says less. DocumentDB
    wants retryable writes off.

    Example:
        ```python
        from millrace.blocks.mongo import MongoDB

        client = (await MongoDB.aload("source-mongo")).get_client()
        ```
    """

    _block_type_name = "MongoDB"
    _block_type_slug = "mongodb"

    url: SecretStr = Field(description="mongodb:// or mongodb+srv://, with user and password.")
    tls: bool | None = Field(
        default=None,
        title="TLS",
        description="On or off; empty: as the URL says, else on unless the server is this machine.",
    )
    tls_ca_file: str | None = Field(
        default=None,
        title="TLS CA File",
        description="Path of the CA bundle where flows run; empty: AWS's for DocumentDB, else the system's.",
    )
    retry_writes: bool | None = Field(default=None, description="Off for DocumentDB; empty: as the URL says.")
    server_selection_timeout_seconds: float = Field(
        default=mongo_client.SERVER_SELECTION_TIMEOUT_SECONDS,
        gt=0,
        description="How long to look for a server, and to wait for a connection, before it counts as unreachable.",
    )
    socket_timeout_seconds: float = Field(
        default=mongo_client.SOCKET_TIMEOUT_SECONDS, gt=0, description="How long one answer may take."
    )

    def get_client(self) -> mongo_client.MongoClient:
        """Return a new Motor client for the running event loop; close it after use. Raises ConfigurationError."""
        return mongo_client.open_client(
            self.url.get_secret_value(),
            tls=self.tls,
            tls_ca_file=self.tls_ca_file,
            retry_writes=self.retry_writes,
            server_selection_timeout_seconds=self.server_selection_timeout_seconds,
            socket_timeout_seconds=self.socket_timeout_seconds,
        )

    async def check(self) -> None:
        """Ask the server to answer. Raises Unreachable or ConfigurationError."""
        client = self.get_client()
        try:
            await mongo_client.check(client, self._block_document_name or "MongoDB")
        finally:
            client.close()
