"""A response that is held back."""

from litestar.types import Message, Send


class Answer:
    """A response held back until it is safe to give."""

    def __init__(self) -> None:
        self.status = 0
        self.messages: list[Message] = []
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.code: str | None = None  # of the problem that it is

    @property
    def content_type(self) -> str:
        """Its media type; empty where it has none."""
        return self.headers.get(b"content-type", b"").decode("latin-1")

    async def collect(self, message: Message) -> None:
        """Takes the place of ASGI's send."""
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = dict(message["headers"])
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    async def give(self, send: Send) -> None:
        """Sends what was held back."""
        for message in self.messages:
            await send(message)
