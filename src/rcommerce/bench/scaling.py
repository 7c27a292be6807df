"""The Universal Scalability Law (Gunther): the throughput that each further unit adds."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Law:
    """`one` is the throughput of one; `contention` the share of serial work; `coherence` the cost
    of each pair."""

    one: float
    contention: float
    coherence: float

    def at(self, count: int) -> float:
        """The throughput of so many."""
        queued = self.contention * (count - 1)
        return self.one * count / (1 + queued + self.coherence * count * (count - 1))


def fitted(one: float, relative_costs: dict[int, float]) -> Law:
    """Fitted to the cost of a request with so many, relative to one (least squares). With a
    processor each, n times one's throughput divided by that is the throughput of n."""
    # cost(n) - 1 = contention (n - 1) + coherence n (n - 1): linear in both.
    points = [(n - 1, n * (n - 1), cost - 1) for n, cost in relative_costs.items() if n > 1]
    aa = sum(a * a for a, _, _ in points)
    ab = sum(a * b for a, b, _ in points)
    bb = sum(b * b for _, b, _ in points)
    ay = sum(a * y for a, _, y in points)
    by = sum(b * y for _, b, y in points)
    determinant = aa * bb - ab * ab
    if len(points) > 1 and determinant:
        contention = (ay * bb - by * ab) / determinant
        coherence = (by * aa - ay * ab) / determinant
        if contention >= 0 and coherence >= 0:
            return Law(one, contention, coherence)
    # One of them would be negative: the other explains it all.
    return Law(one, max(0.0, ay / aa) if aa else 0.0, 0.0)
