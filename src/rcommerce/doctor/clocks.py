"""Whether the clocks of all servers, instances and this machine agree."""

from collections.abc import Iterator, Sequence

from rcommerce.doctor.findings import Finding, State

OFF_S = 1.0  # seconds; signatures of uploads and comparisons of logs begin to fail
FAR_S = 60.0  # seconds; tokens and certificates begin to fail
ADVICE = "run chrony or systemd-timesyncd there"


def agreement(findings: Sequence[Finding]) -> Iterator[Finding]:
    """Summarizes what the servers' findings say of their clocks."""
    known = {
        each.about: each.clock_differs_s for each in findings if each.clock_differs_s is not None
    }
    if not known:
        return
    low, high = min(known.values()), max(known.values())
    worst = max(abs(low), abs(high))
    servers = f"{len(known)} server{'s' * (len(known) > 1)}"
    if worst <= OFF_S:
        yield Finding("green", "clocks", f"{servers} and this machine agree within"
                      f" {max(worst, 0.1):.1f} s")  # fmt: skip
    elif high - low <= OFF_S and len(known) > 1:  # they agree with one another
        yield Finding(_state(worst), "clocks", f"this machine's is {off(-high)} all {servers}'",
                      "run chrony or systemd-timesyncd here")  # fmt: skip
    else:
        for about, differs_s in known.items():
            if abs(differs_s) > OFF_S:
                message = f"that of {about} is {off(differs_s)} this machine's"
                yield Finding(_state(differs_s), "clocks", message, ADVICE)


def _state(differs_s: float) -> State:
    return "red" if abs(differs_s) > FAR_S else "yellow"


def off(differs_s: float) -> str:
    """The difference in words, for a sentence that goes on with whose."""
    return f"{abs(differs_s):.1f} s {'ahead of' if differs_s > 0 else 'behind'}"
