"""The autoscaler decides as Kubernetes' does: the cases of its documentation, and of its tests."""

import pytest

from rcommerce.simulation.hpa import Autoscaler, Pod, Policy, Rules, replicas

# "Horizontal Pod Autoscaling", Kubernetes documentation.
ANYTIME = 10_000.0


def used(*percents: float) -> list[Pod]:
    return [Pod(usage=each) for each in percents]


@pytest.mark.parametrize(
    ("current", "usage", "target", "wanted"),
    [
        # “if the current metric value is 200m, and the desired value is 100m, the number of
        # replicas will be doubled”
        (2, 200, 100, 4),
        # “If the current value is instead 50m, you'll halve the number of replicas”
        (4, 50, 100, 2),
        # “skips any scaling action if the ratio is sufficiently close to 1.0”, by 0.1
        (3, 109, 100, 3),
        (3, 91, 100, 3),
        (10, 112, 100, 12),
        (10, 89, 100, 9),
    ],
)
def test_replicas_follow_the_ratio(current: int, usage: float, target: float, wanted: int) -> None:
    assert replicas(ANYTIME, current, used(*[usage] * current), target) == wanted


def test_pods_without_a_figure_hold_back() -> None:
    """“assuming those pods were consuming 100% of the desired value in case of a scale down, and
    0% in case of a scale up”"""
    half_known = [*used(30, 30), Pod(usage=None), Pod(usage=None)]
    assert replicas(ANYTIME, 4, half_known, 100) == 3  # (30 + 30 + 100 + 100) / 4 = 65 %
    busy = [*used(300, 300), Pod(usage=None), Pod(usage=None)]
    assert replicas(ANYTIME, 4, busy, 100) == 6  # (300 + 300 + 0 + 0) / 4 = 150 %


def test_pods_that_are_not_ready_yet_count_as_idle_on_the_way_up() -> None:
    """“conservatively assumes that not-yet-ready pods are consuming 0% of the desired metric”"""
    starting = [*used(100, 100), Pod(started_s=90, ready_s=None, usage=900)]
    assert replicas(100.0, 3, starting, 50) == 4  # (100 + 100 + 0) / 3 = 66 %; ×3/50
    pending = [*used(60, 60), Pod(is_pending=True)]
    assert replicas(100.0, 3, pending, 50) == 3  # 40 %: the direction turns, so nothing is done


def test_pods_that_go_are_not_counted() -> None:
    assert replicas(ANYTIME, 3, [*used(100, 100), Pod(usage=0, is_going=True)], 50) == 4


def test_of_several_metrics_the_largest_counts() -> None:
    scaler = Autoscaler(1, 20, {"cpu": 70, "memory": 80})
    pods = {"cpu": used(70, 70, 70), "memory": used(160, 160, 160)}
    assert scaler.decide(ANYTIME, 3, pods) == 6


def seeds() -> Autoscaler:
    return Autoscaler(
        3,
        20,
        {"cpu": 70},
        up=Rules(60, (Policy("Percent", 100, 15),)),
        down=Rules(300, (Policy("Percent", 10, 60),)),
    )


def run(scaler: Autoscaler, usage: float, current: int, begin: float, count: int) -> list[int]:
    """So many syncs of 15 s with the same usage of each pod."""
    found = []
    for number in range(count):
        current = scaler.decide(begin + 15 * number, current, {"cpu": used(*[usage] * current)})
        found.append(current)
    return found


def test_up_waits_for_its_window_and_then_doubles() -> None:
    """“The stabilization window is used to restrict the flapping of replica count”: the lowest of
    what was proposed in the last 60 s counts, 9 for as long as there were 3; and no more than
    twice as many come in 15 s."""
    scaler = seeds()
    assert run(scaler, 70, 3, 0, 5) == [3] * 5
    assert run(scaler, 210, 3, 75, 8) == [3, 3, 3, 6, 9, 9, 9, 18]


def test_down_takes_a_tenth_a_minute_after_its_window() -> None:
    scaler = seeds()
    assert run(scaler, 70, 20, 0, 4) == [20] * 4
    quiet = run(scaler, 10, 20, 60, 40)
    assert quiet[:19] == [20] * 19  # 300 s after the last that wanted 20
    assert quiet[19] == 18
    assert quiet[20:23] == [18] * 3
    assert quiet[23] == 16  # 90 % of 18, cut off
    assert quiet[27] == 14


def test_the_policy_that_changes_most_is_taken_unless_said_otherwise() -> None:
    """The documentation's example: 4 pods or 10 per cent a minute, of 80 replicas."""
    policies = (Policy("Pods", 4, 60), Policy("Percent", 10, 60))
    most = Autoscaler(10, 100, {"cpu": 100}, down=Rules(0, policies))
    assert most.decide(ANYTIME, 80, {"cpu": used(*[10] * 80)}) == 72
    least = Autoscaler(10, 100, {"cpu": 100}, down=Rules(0, policies, "Min"))
    assert least.decide(ANYTIME, 80, {"cpu": used(*[10] * 80)}) == 76
    off = Autoscaler(10, 100, {"cpu": 100}, down=Rules(0, policies, "Disabled"))
    assert off.decide(ANYTIME, 80, {"cpu": used(*[10] * 80)}) == 80


def test_bounds_hold_whatever_is_asked() -> None:
    assert seeds().decide(0, 1, {"cpu": used(10)}) == 3
    assert seeds().decide(0, 25, {"cpu": used(*[900] * 25)}) == 20
    assert seeds().decide(0, 0, {"cpu": []}) == 0
