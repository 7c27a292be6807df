"""Mail senders: to the log, or through an SMTP server."""

import asyncio
import contextlib
import smtplib
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formataddr

import structlog

from rcommerce.settings.schema import Email

log = structlog.get_logger()
TIMEOUT_S = 10


class LogMailer:
    """Writes each message to the log: for development."""

    async def send(self, to: str, subject: str, text: str) -> None:
        """Never fails."""
        log.info("mail", to=to, subject=subject, text=text)


@dataclass(frozen=True, slots=True)
class SmtpMailer:
    """Hands each message to the server of `[notifications.email]`."""

    settings: Email

    async def send(self, to: str, subject: str, text: str) -> None:
        """Raises OSError if the server refuses or cannot be reached."""
        await asyncio.to_thread(self._send, to, subject, text)

    def _send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["From"] = formataddr((self.settings.from_name, self.settings.from_email))
        message["To"] = to
        message["Subject"] = subject
        message.set_content(text)
        with connected(self.settings) as server:
            server.send_message(message)


@contextlib.contextmanager
def connected(email: Email) -> Iterator[smtplib.SMTP]:
    """The mail server, logged in. A certificate of an unknown issuer is rejected; SSL_CERT_FILE
    adds issuers. Raises OSError, of which smtplib's own errors are subclasses."""
    with smtplib.SMTP(email.smtp_host or "", email.smtp_port, timeout=TIMEOUT_S) as server:
        if email.smtp_tls:
            server.starttls(context=ssl.create_default_context())
        if email.smtp_user:
            server.login(email.smtp_user, email.smtp_pass or "")
        yield server
