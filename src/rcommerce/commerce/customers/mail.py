"""Senders of mail: to the log, or through an SMTP server."""

import asyncio
import smtplib
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
        """Raises OSError where the server refuses or cannot be reached."""
        await asyncio.to_thread(self._send, to, subject, text)

    def _send(self, to: str, subject: str, text: str) -> None:
        message = EmailMessage()
        message["From"] = formataddr((self.settings.from_name, self.settings.from_email))
        message["To"] = to
        message["Subject"] = subject
        message.set_content(text)
        host = self.settings.smtp_host or ""
        # smtplib's own errors are OSErrors too.
        with smtplib.SMTP(host, self.settings.smtp_port, timeout=TIMEOUT_S) as server:
            if self.settings.smtp_tls:
                server.starttls()
            if self.settings.smtp_user:
                server.login(self.settings.smtp_user, self.settings.smtp_pass or "")
            server.send_message(message)
