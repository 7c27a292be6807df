"""A response that is held back until it may be sent."""

from litestar.types import Message, Send


class Answer:
    """A response that is held back until it may be sent."""

    def __init__(self) -> None:
        self.status = 0
        self.messages: list[Message] = []
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.code: str | None = None  # the code of the problem, if it is one

    @property
    def content_type(self) -> str:
        """Its media type; empty without one."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    async def collect(self, message: Message) -> None:
        """ASGI's send, which collects the response."""
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def give(self, send: Send) -> None:
        """Sends the response."""
        for message in self.messages:
            await send(message)
