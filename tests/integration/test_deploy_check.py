"""What is rendered for an operator, held against the tools that will read it."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from commands import execute
from deploy_files import FLEET, fleet_in
from rcommerce.deploy.check import CHECKS, Checked, check
from rcommerce.deploy.render import TARGETS, render

CERTIFIED = f"""{FLEET}
[nginx]
certificate = "/etc/ssl/shop.pem"
certificate_key = "/etc/ssl/shop.key"
micro_cache_s = 2
trusted = ["10.0.9.0/24"]

[haproxy]
certificate = "/etc/ssl/both.pem"

[monitoring]
alertmanagers = ["10.0.6.10:9093"]
node_exporters = ["10.0.2.10:9100"]
blackbox_exporter = "10.0.6.10:9115"

[autoscaling]
requests_per_second = 800
"""


def all_well(found: list[Checked]) -> None:
    """No tool finds a fault; what is not installed here is said."""
    assert not [each for each in found if each.state == "fault"]
    if missing := {each.tool for each in found if each.state == "missing"}:
        pytest.skip(f"not installed: {', '.join(sorted(missing))}")


@pytest.mark.parametrize("target", TARGETS)
def test_each_tool_accepts_what_is_rendered_for_it(tmp_path: Path, target: str) -> None:
    for name, fleet in (("plain", FLEET), ("full", CERTIFIED)):
        render(fleet_in(tmp_path, fleet), [target], tmp_path / name)
        found = check(tmp_path / name)
        assert {each.target for each in found} == {target}
        all_well(found)


def test_lines_for_the_check_module_are_left_out_where_nginx_has_it_not(tmp_path: Path) -> None:
    fleet = f'{FLEET}\n[nginx]\nactive_check = "check_module"\n'
    render(fleet_in(tmp_path, fleet), ["nginx"], tmp_path / "out")
    states = [
        (each.state, "upstream check module" in each.message) for each in check(tmp_path / "out")
    ]
    assert states == [("missing", True), ("ok", False)]


BREAKS = {
    "nginx": ("rcommerce.conf", "least_conn;", "most_conn;"),
    "haproxy": ("haproxy.cfg", "balance leastconn", "balance mostconn"),
    "pgbouncer": ("pgbouncer.ini", "pool_mode = transaction", "pool_mode = never"),
    "kubernetes": ("base/hpa.yaml", "maxReplicas:", "mostReplicas:"),
    "helm": ("templates/hpa.yaml", "maxReplicas:", "mostReplicas:"),
    "aws": ("rcommerce.yaml", 'MinSize: "2"', "LeastSize: 2"),
    "compose": ("compose.yaml", "command:", "comand:"),
    "systemd": ("rcommerce.service", "Type=exec", "Type=never"),
    "prometheus": ("alerts.yml", "> 10000", "> 10 10"),
    "grafana": ("shop.json", "rate(http", "rate(rate(http"),
}


@pytest.mark.parametrize("target", TARGETS)
def test_each_tool_finds_a_mistake(tmp_path: Path, target: str) -> None:
    render(fleet_in(tmp_path), [target], tmp_path)
    all_well(check(tmp_path))
    name, old, new = BREAKS[target]
    path = tmp_path / target / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    faults = [each for each in check(tmp_path) if each.state == "fault"]
    assert faults
    assert all(each.message for each in faults)
    assert set(CHECKS) == set(TARGETS) == set(BREAKS)


def objects(text: str) -> dict[str, Any]:
    """What Kubernetes is told, without what Kustomize and Helm do each in a way of its own: where
    it is, and how new settings become new pods."""
    found = {}
    for each in yaml.safe_load_all(text):
        each["metadata"].pop("namespace", None)
        template = each.get("spec", {}).get("template", {})
        template.get("metadata", {}).pop("annotations", None)
        for volume in template.get("spec", {}).get("volumes", []):
            if "configMap" in volume:
                volume["configMap"] = "the settings"
        name = re.sub(r"(settings|migration)-[-.\w]+", r"\1", each["metadata"].pop("name"))
        if each["kind"] == "ConfigMap":  # of which a file has a comment above it
            each["data"] = tomllib.loads(each["data"]["rcommerce.toml"])
        found[f"{each['kind']} {name}"] = each
    return found


def ran(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_chart_is_what_kustomize_builds(tmp_path: Path) -> None:
    kubectl, helm = shutil.which("kubectl"), Path(sys.executable).parent / "helm"
    if kubectl is None:
        pytest.skip("kubectl is not installed")
    render(fleet_in(tmp_path, CERTIFIED), ["kubernetes", "helm"], tmp_path)
    built = objects(ran(kubectl, "kustomize", str(tmp_path / "kubernetes/overlays/production")))
    del built["Namespace rcommerce"]
    chart = [str(helm), "template", "rcommerce", str(tmp_path / "helm")]
    assert objects(ran(*chart, "--set", "monitoring.service_monitor=true")) == built
    own = (
        "instances.max=7,instances.cpus=500m,autoscaling.requests_per_second=null,domain=s.example"
    )
    changed = objects(ran(*chart, "--set", own))
    scaler = changed["HorizontalPodAutoscaler rcommerce-hpa"]["spec"]
    assert (scaler["maxReplicas"], len(scaler["metrics"])) == (7, 2)
    hosts = [each["host"] for each in changed["Ingress rcommerce"]["spec"]["rules"]]
    assert hosts == ["s.example", "*.s.example"]
    assert "ServiceMonitor rcommerce" not in changed


def test_a_key_that_grafana_does_not_know_is_found(tmp_path: Path) -> None:
    render(fleet_in(tmp_path), ["grafana"], tmp_path)
    path = tmp_path / "grafana" / "shop.json"
    board = json.loads(path.read_text())
    board["panels"][0]["tittle"] = board["panels"][0].pop("title")
    path.write_text(json.dumps(board))
    [fault] = [each for each in check(tmp_path) if each.state == "fault"]
    assert fault.message == "/panels/0/tittle: Grafana knows no such key"


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return execute(["deploy", *arguments], folder, os.environ)


def test_the_commands(tmp_path: Path) -> None:
    fleet_in(tmp_path)
    listed = command(tmp_path, "targets", "--json")
    assert set(json.loads(listed.stdout)) == set(TARGETS)
    made = command(tmp_path, "render", "haproxy", "nginx", "--out", "out", "--json")
    assert made.returncode == 0, made.stderr
    assert "out/haproxy/haproxy.cfg" in json.loads(made.stdout)["files"]
    checked = command(tmp_path, "check", "out", "--json")
    states = {each["target"]: each["state"] for each in json.loads(checked.stdout)["checks"]}
    assert set(states) == {"nginx", "haproxy"}
    assert checked.returncode == 0
    unknown = command(tmp_path, "render", "apache", "--out", "out")
    assert (unknown.returncode, "unknown target apache; available: nginx" in unknown.stderr) == (
        2,
        True,
    )
    nothing = command(tmp_path, "check", "elsewhere")
    assert (nothing.returncode, "has nothing that was rendered" in nothing.stderr) == (1, True)
    (tmp_path / "fleet.toml").write_text('domain = "shop"\n')
    refused = command(tmp_path, "render", "all", "--out", "out")
    assert (refused.returncode, "must be like shop.example.com" in refused.stderr) == (2, True)


# What moto's CloudFormation makes; of the rest there are stand-ins where it is spoken of.
MADE = ("AWS::EC2::", "AWS::ElasticLoadBalancingV2::", "AWS::AutoScaling::", "AWS::S3::",
        "AWS::IAM::")  # fmt: skip


def within(template: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a template that moto makes."""
    kept = {
        name: each
        for name, each in template["Resources"].items()
        if each["Type"].startswith(MADE) and name != "RCommerceScalingPolicy"
    }
    gone = set(template["Resources"]) - set(kept)

    def cut(node: Any) -> Any:
        if isinstance(node, dict):
            if len(node) == 1 and "Fn::GetAtt" in node and node["Fn::GetAtt"][0] in gone:
                return "a stand-in"
            if node.get("Ref") in gone:
                return "a stand-in"
            return {key: cut(value) for key, value in node.items()}
        if isinstance(node, list):
            return [cut(each) for each in node]
        if isinstance(node, str):
            return re.sub(rf"\$\{{({'|'.join(gone)})(\.[\w.]+)?\}}", "a stand-in", node)
        return node

    return {**{k: v for k, v in template.items() if k != "Outputs"}, "Resources": cut(kept)}


def test_the_group_of_aws_comes_up_behind_its_balancer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "nobody's")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import boto3
    from cfnlint.decode import decode
    from moto import mock_aws

    render(fleet_in(tmp_path), ["aws"], tmp_path)
    template = json.loads(json.dumps(decode(str(tmp_path / "aws" / "rcommerce.yaml"))[0]))
    with mock_aws():
        ec2 = boto3.client("ec2")
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(
                VpcId=vpc,
                CidrBlock=f"10.0.{number}.0/24",
                AvailabilityZone=f"us-east-1{'ab'[number % 2]}",
            )["Subnet"]["SubnetId"]
            for number in range(4)
        ]
        given = {
            "VpcId": vpc,
            "PublicSubnets": ",".join(subnets[:2]),
            "PrivateSubnets": ",".join(subnets[2:]),
            "CertificateArn": boto3.client("acm").request_certificate(DomainName="*.example.com")[
                "CertificateArn"
            ],
        }
        boto3.client("cloudformation").create_stack(
            StackName="rcommerce",
            TemplateBody=json.dumps(within(template)),
            Capabilities=["CAPABILITY_IAM"],
            Parameters=[
                {"ParameterKey": key, "ParameterValue": value} for key, value in given.items()
            ],
        )
        [group] = boto3.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        assert (group["MinSize"], group["MaxSize"], group["DesiredCapacity"]) == (2, 10, 3)
        assert (group["HealthCheckType"], group["HealthCheckGracePeriod"]) == ("ELB", 300)
        assert len(group["Instances"]) == 3
        # Its policy, which moto's CloudFormation leaves out, is one that AWS's interface takes.
        asked = dict(template["Resources"]["RCommerceScalingPolicy"]["Properties"])
        asked |= {"AutoScalingGroupName": group["AutoScalingGroupName"], "PolicyName": "cpu"}
        boto3.client("autoscaling").put_scaling_policy(**asked)
        [policy] = boto3.client("autoscaling").describe_policies()["ScalingPolicies"]
        assert policy["TargetTrackingConfiguration"]["TargetValue"] == 70.0
        [target] = boto3.client("elbv2").describe_target_groups()["TargetGroups"]
        assert target["HealthCheckPath"] == "/health"
        health = boto3.client("elbv2").describe_target_health(
            TargetGroupArn=target["TargetGroupArn"]
        )
        assert len(health["TargetHealthDescriptions"]) == 3
