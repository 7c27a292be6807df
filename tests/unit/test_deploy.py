"""What is rendered for an operator, and what is refused."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy_files import FLEET, SECRETS, SETTINGS, fleet_in
from rcommerce.deploy.arithmetic import require_sound
from rcommerce.deploy.fleet import load_fleet
from rcommerce.deploy.render import TARGETS, render, rendered
from rcommerce.errors import SettingsError

# What was asked for first, word for word.
ASKED = Path(__file__).parent.parent / "data/asked"


def asked_for(name: str) -> Any:
    """One of its files of YAML."""
    text = (ASKED / name).read_text()
    return yaml.load(text, Loader=_CloudFormation)  # noqa: S506 - a safe loader, with more tags


class _CloudFormation(yaml.SafeLoader):
    """Knows CloudFormation's short functions."""


_CloudFormation.add_multi_constructor(
    "!",
    lambda loader, suffix, node: {
        suffix: loader.construct_scalar(node)
        if isinstance(node, yaml.ScalarNode)
        else loader.construct_sequence(node, deep=True)
    },
)


def files(
    folder: Path, target: str, fleet: str = FLEET, settings: str = SETTINGS
) -> dict[str, str]:
    return dict(rendered(fleet_in(folder, fleet, settings), target))


def test_the_same_fleet_is_rendered_to_the_same_bytes(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path)
    first = render(fleet, list(TARGETS), tmp_path / "first")
    second = render(fleet, list(TARGETS), tmp_path / "second")
    assert [each.read_bytes() for each in first] == [each.read_bytes() for each in second]
    assert {each.relative_to(tmp_path / "first").parts[0] for each in first} == set(TARGETS)


def test_no_rendered_file_has_a_secret(tmp_path: Path) -> None:
    written = render(fleet_in(tmp_path), list(TARGETS), tmp_path / "out")
    for path in written:
        text = path.read_text()
        assert not [each for each in SECRETS if each in text], path
    deployment = (tmp_path / "out/kubernetes/base/deployment.yaml").read_text()
    for key in ("DATABASE__PASSWORD", "SECURITY__JWT__SECRET", "CACHE__REDIS_URL",
                "MEDIA__S3_SECRET_KEY"):  # fmt: skip
        assert f"RCOMMERCE_{key}_FILE" in deployment


def test_a_shard_with_a_password_of_its_own_is_refused(tmp_path: Path) -> None:
    settings = f'{SETTINGS}\n[[database.shards]]\nname = "shard-1"\npassword = "its own"\n'
    with pytest.raises(SettingsError, match="shard-1 has a password of its own"):
        files(tmp_path, "kubernetes", settings=settings)


def test_the_autoscaler_of_kubernetes_is_the_one_asked_for(tmp_path: Path) -> None:
    made = yaml.safe_load(files(tmp_path, "kubernetes")["kubernetes/base/hpa.yaml"])
    assert made == asked_for("horizontal-pod-autoscaler.yaml")


def test_the_group_of_aws_is_the_one_asked_for(tmp_path: Path) -> None:
    text = files(tmp_path, "aws")["aws/rcommerce.yaml"]
    made = yaml.load(text, Loader=_CloudFormation)["Resources"]  # noqa: S506
    asked = asked_for("auto-scaling-group.yaml")["Resources"]
    for name, resource in asked.items():
        assert made[name]["Type"] == resource["Type"]
        for key, value in resource["Properties"].items():
            found = made[name]["Properties"][key]
            assert str(found) == str(value), (name, key)


def test_the_alerts_asked_for_are_there_word_for_word(tmp_path: Path) -> None:
    text = files(tmp_path, "prometheus")["prometheus/alerts.yml"]
    groups = {each["name"]: each["rules"] for each in yaml.safe_load(text)["groups"]}
    assert groups["seed"] == asked_for("alerts.yaml")


def test_every_alert_is_in_the_runbook(tmp_path: Path) -> None:
    text = files(tmp_path, "prometheus")["prometheus/alerts.yml"]
    names = {rule["alert"] for each in yaml.safe_load(text)["groups"] for rule in each["rules"]}
    runbook = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    assert not {each for each in names if f"`{each}`" not in runbook}


def test_a_requests_metric_is_an_option_of_the_autoscaler(tmp_path: Path) -> None:
    fleet = f"{FLEET}\n[autoscaling]\nrequests_per_second = 500\n"
    made = yaml.safe_load(files(tmp_path, "kubernetes", fleet)["kubernetes/base/hpa.yaml"])
    assert made["spec"]["metrics"][2]["pods"]["target"]["averageValue"] == "500"


def test_staging_is_rendered_only_with_settings_of_its_own(tmp_path: Path) -> None:
    plain = FLEET.replace('staging_settings = "rcommerce.toml"', "")
    assert not [each for each in files(tmp_path, "kubernetes", plain) if "staging" in each]
    assert [each for each in files(tmp_path, "kubernetes") if "staging" in each]


def test_nginx_has_a_group_without_each_that_may_be_out(tmp_path: Path) -> None:
    made = files(tmp_path, "nginx")
    groups = re.findall(r"^upstream (\S+) \{", made["nginx/rcommerce.conf"], re.MULTILINE)
    assert groups == [
        "rcommerce", "rcommerce_without_1", "rcommerce_without_2", "rcommerce_without_3",
        "rcommerce_without_1_2", "rcommerce_without_1_3", "rcommerce_without_2_3",
    ]  # fmt: skip
    for each in groups:
        assert json.dumps(each) in made["nginx/rcommerce-health.js"]


def test_the_check_module_gets_the_block_asked_for(tmp_path: Path) -> None:
    fleet = f'{FLEET}\n[nginx]\nactive_check = "check_module"\n'
    text = files(tmp_path, "nginx", fleet)["nginx/rcommerce.conf"]
    for line in (
        "zone upstream_rcommerce 64k;",
        "server 10.0.1.10:8080 weight=5 max_fails=3 fail_timeout=30s;",
        "check interval=5000 rise=2 fall=3 timeout=3000 type=http;",
        r'check_http_send "GET /health HTTP/1.0\r\n\r\n";',
        "check_http_expect_alive http_2xx http_3xx;",
        "keepalive 32;",
    ):
        assert line in text


DIRECT = """
[server]
workers = 1
drain_delay_secs = 20
[database]
host = "10.0.2.10"
{more}
"""


@pytest.mark.parametrize(
    ("fleet", "settings", "message"),
    [
        (
            "[instances]\nmax = 20\n",
            DIRECT.format(more="pool_size = 20"),
            r"20 instances × 20 connections = 400 to 10\.0\.2\.10:5432, which has 100 - 3 for"
            r" superusers = 97: 4 instances fit",
        ),
        (
            "",
            DIRECT.format(more='pool_size = 2\nread_replicas = ["10.0.2.10:5432"]'),
            r"10\.0\.2\.10:5432 is the primary's address",
        ),
        (
            '[instances]\naddresses = ["10.0.1.10", "10.0.1.11"]\nweights = [5, 0]\n',
            SETTINGS,
            r"0 of 10\.0\.1\.11: from 1 to 256",
        ),
        (
            '[instances]\naddresses = ["10.0.1.10", "10.0.1.10:8080"]\n',
            SETTINGS,
            r"10\.0\.1\.10:8080 stands 2 times",
        ),
        (
            '[instances]\naddresses = ["10.0.1.10:80"]\n[nginx]\nlisten = "10.0.1.10:80"\n',
            SETTINGS,
            r"10\.0\.1\.10:80 is where the instance 10\.0\.1\.10:80 listens",
        ),
        ("[instances]\nmin = 5\nmax = 4\n", SETTINGS, "5 is more than max = 4"),
        ("[instances]\ncount = 30\n", SETTINGS, "30 is not from min = 3 to max = 20"),
        (
            FLEET,
            SETTINGS.replace("drain_delay_secs = 20", "drain_delay_secs = 2"),
            r"3 × 5000 ms \+ 3000 ms = 18 s",
        ),
        (
            "[pgbouncer]\nmax_client_conn = 300\n",
            SETTINGS,
            "20 instances × 20 connections = 400 to 10.0.2.5:6432, which takes 300",
        ),
        (
            "[pgbouncer]\ndefault_pool_size = 95\n",
            SETTINGS,
            r"1 databases × \(95 \+ 5 in reserve\) = 100 connections",
        ),
        (
            '[nginx]\ncertificate = "/a"\n',
            SETTINGS,
            "goes with nginx.certificate_key",
        ),
        (
            FLEET,
            f'{SETTINGS}\n[[database.shards]]\nname = "shard-1"\nhosts = ["10.0.2.5:6432"]\n'
            'direct_hosts = ["10.0.3.11:5432"]\n',
            "shard-1 and main are both called “rcommerce” behind 10.0.2.5:6432",
        ),
        ("[health]\ntimeout_ms = 6000\n", SETTINGS, "6000 is longer than interval_ms = 5000"),
    ],
)
def test_a_fleet_that_contradicts_itself_is_refused_with_the_sum(
    tmp_path: Path, fleet: str, settings: str, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        require_sound(fleet_in(tmp_path, fleet, settings))


def test_a_misspelt_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"no setting instances\.adresses; the nearest is"):
        fleet_in(tmp_path, "[instances]\nadresses = []\n")


def test_a_fleet_without_its_settings_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "fleet.toml").write_text('settings = "elsewhere.toml"\n')
    with pytest.raises(SettingsError, match="the settings file that all instances share"):
        load_fleet(tmp_path / "fleet.toml")


def test_a_balancer_needs_to_know_where_the_instances_are(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"instances\.addresses: nginx has to know"):
        files(tmp_path, "nginx", "")


def test_a_pooler_that_nobody_uses_is_not_rendered(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r'no database of rcommerce\.toml has pooler = "pgbou'):
        files(tmp_path, "pgbouncer", settings=DIRECT.format(more=""))
