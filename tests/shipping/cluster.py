"""deploy/kubernetes: put together by kustomize, held strictly against the published schemas and against the program."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from cloudcoil.models.prometheus_operator.v1 import ServiceMonitor
from container import image
from program import CONFIGURATION, DATA, PATIENCE, Installed, drain_seconds, new_key, run, settings, with_key

KUBECTL = Path(sys.executable).with_name("kubectl")

# Clusters that the manifests are for: the newest that the schemas know, and the oldest with all that is used.
VERSIONS = ("1.33", kubernetes_validate.latest_version())

KINDS = {
    "ConfigMap",
    "Namespace",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceMonitor",
    "StatefulSet",
}

MEMORY = {"Mi": 1 << 20, "Gi": 1 << 30}


def build(deploy: Path, overlay: str) -> list[dict[str, Any]]:
    directory = deploy / "kubernetes" / overlay
    done = subprocess.run([KUBECTL, "kustomize", directory], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0, f"kustomize: {done.stderr}"
    assert "deprecated" not in done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of_kind(documents: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    found = [document for document in documents if document["kind"] == kind]
    assert found, f"there is no {kind}"
    return found


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return bool(selector) and selector.items() <= labels.items()


class Set:
    """The StatefulSet, and what is looked up in it."""

    def __init__(self, documents: list[dict[str, Any]]) -> None:
        [self.document] = of_kind(documents, "StatefulSet")
        self.spec = self.document["spec"]
        self.labels = self.spec["template"]["metadata"]["labels"]
        self.pod = self.spec["template"]["spec"]
        [self.container] = self.pod["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.mounts = {mount["mountPath"]: mount["name"] for mount in self.container["volumeMounts"]}

    def environment(self) -> dict[str, str]:
        return {each["name"]: each["value"] for each in self.container.get("env", [])}


def configuration(documents: list[dict[str, Any]]) -> str:
    [config] = of_kind(documents, "ConfigMap")
    return str(config["data"]["doorbuster.toml"])


def check_schemas(deploy: Path) -> None:
    for overlay in ("base", "postgresql"):
        documents = build(deploy, overlay)
        kinds = {document["kind"] for document in documents}
        assert kinds == KINDS, f"{overlay}: {kinds ^ KINDS}"
        for document in documents:
            if document["kind"] == "ServiceMonitor":
                # What the model does not know it leaves out.
                known = ServiceMonitor.model_validate(document).model_dump(
                    by_alias=True, exclude_unset=True, mode="json"
                )
                assert known == document, f"ServiceMonitor: {known} is what is known of {document}"
                continue
            for version in VERSIONS:
                kubernetes_validate.validate(document, version, strict=True)


def check_selectors(deploy: Path) -> None:
    """Whoever selects the pod selects it, by names of ports that it has."""
    documents = build(deploy, "base")
    pod = Set(documents)
    services = of_kind(documents, "Service")
    for service in services:
        assert selects(service["spec"]["selector"], pod.labels), service["metadata"]["name"]
        for port in service["spec"]["ports"]:
            assert pod.ports[port["targetPort"]] == port["port"]
    assert pod.spec["serviceName"] in {service["metadata"]["name"] for service in services}
    assert selects(pod.spec["selector"]["matchLabels"], pod.labels)
    [budget] = of_kind(documents, "PodDisruptionBudget")
    assert selects(budget["spec"]["selector"]["matchLabels"], pod.labels)
    assert budget["spec"]["minAvailable"] == pod.spec["replicas"]
    [policy] = of_kind(documents, "NetworkPolicy")
    assert selects(policy["spec"]["podSelector"]["matchLabels"], pod.labels)
    let_in = [port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]]
    assert sorted(let_in) == sorted(pod.ports)
    assert all(rule["from"] for rule in policy["spec"]["ingress"]), "nobody else"
    assert set(policy["spec"]["policyTypes"]) == {"Ingress", "Egress"}
    [monitor] = of_kind(documents, "ServiceMonitor")
    wanted = monitor["spec"]["selector"]["matchLabels"]
    [watched] = [service for service in services if selects(wanted, service["metadata"]["labels"])]
    for endpoint in monitor["spec"]["endpoints"]:
        assert endpoint["port"] in {port["name"] for port in watched["spec"]["ports"]}


def check_pod(deploy: Path) -> None:
    """One owner of the journal, with time to end, room for what the limits allow, and no more rights than it needs."""
    documents = build(deploy, "base")
    pod, config = Set(documents), settings()
    assert pod.spec["replicas"] == 1
    sleep = pod.container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod.pod["terminationGracePeriodSeconds"] >= sleep + drain_seconds(config) + 30
    rights, own = pod.pod["securityContext"], pod.container["securityContext"]
    assert (rights["runAsUser"], rights["runAsGroup"]) == image(deploy).user() and rights["runAsNonRoot"]
    assert rights["fsGroup"] == rights["runAsGroup"] and rights["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own["readOnlyRootFilesystem"] and own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert pod.pod["automountServiceAccountToken"] is False
    number, unit = re.fullmatch(r"(\d+)([MG]i)", pod.container["resources"]["limits"]["memory"]).groups()  # type: ignore[union-attr]
    in_memory = 200 * (config["limits"]["reservations_max"] + config["limits"]["customers_max"])
    assert int(number) * MEMORY[unit] > in_memory + (1 << 30), "memory for what limits allow"
    [claim] = pod.spec["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOncePod"]
    assert pod.mounts[DATA] == claim["metadata"]["name"]
    storage = claim["spec"]["resources"]["requests"]["storage"]
    assert int(storage.removesuffix("Gi")) << 30 > 2 * config["journal"]["max_backlog_bytes"]
    [volume] = [volume for volume in pod.pod["volumes"] if volume["name"] == pod.mounts[CONFIGURATION]]
    [config_map] = of_kind(documents, "ConfigMap")
    assert volume["configMap"]["name"] == config_map["metadata"]["name"]


def check_store(deploy: Path) -> None:
    """The overlay for PostgreSQL: the password is where the program is told that it is, and the way there is open."""
    documents = build(deploy, "postgresql")
    pod = Set(documents)
    told = pod.environment()
    file = Path(told["DOORBUSTER_STORE__PASSWORD_FILE"])
    [volume] = [volume for volume in pod.pod["volumes"] if volume["name"] == pod.mounts[str(file.parent)]]
    assert "secret" in volume
    found = re.fullmatch(
        r"postgres://\w+@[\w-]+\.([\w-]+)\.svc\.cluster\.local:(\d+)/\w+", told["DOORBUSTER_STORE__URL"]
    )
    assert found, told
    [policy] = of_kind(documents, "NetworkPolicy")
    ways = {
        (rule["to"][0]["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"], port["port"])
        for rule in policy["spec"]["egress"]
        for port in rule["ports"]
    }
    assert ways == {(found[1], int(found[2])), ("kube-system", 53)}
    [base] = of_kind(build(deploy, "base"), "NetworkPolicy")
    assert base["spec"]["egress"] == [], "nobody is called without"


def check_service_links(deploy: Path) -> None:
    """Variables that Kubernetes makes of a Service of this name are no settings, and the pod does not have them."""
    pod = Set(build(deploy, "base"))
    made = ("SERVICE_HOST", "SERVICE_PORT_API", "PORT", "PORT_8080_TCP_ADDR", "PODS_PORT_9464_TCP")
    run("check-config", env={f"DOORBUSTER_{name}": "tcp://10.0.0.1:8080" for name in made})
    assert pod.pod["enableServiceLinks"] is False


def check_commands(deploy: Path) -> None:
    """The pod's command with its ConfigMap: probes are answered where they ask. With no key it does not start."""
    for overlay in ("base", "postgresql"):
        documents = build(deploy, overlay)
        pod, text = Set(documents), configuration(documents)
        command = pod.container.get("command", image(deploy).command("ENTRYPOINT")) + pod.container["args"]
        env = image(deploy).environment() | pod.environment()
        with Installed(command, env, text) as service:
            assert {int(port) for port in service.ports} == set(pod.ports.values())
            service.check_serves()
            for probe in ("livenessProbe", "readinessProbe"):
                asked = pod.container[probe]["httpGet"]
                port = service.ports[str(pod.ports[asked["port"]])]
                assert service.status(f"http://127.0.0.1:{port}{asked['path']}") == 200, probe
            [monitor] = of_kind(documents, "ServiceMonitor")
            [endpoint] = monitor["spec"]["endpoints"]
            port = service.ports[str(pod.ports[endpoint["port"]])]
            assert service.status(f"http://127.0.0.1:{port}{endpoint['path']}") == 200
            service.stop()
    with tempfile.TemporaryDirectory(prefix="doorbuster-shipping-") as directory:
        file = Path(directory, "doorbuster.toml")
        file.write_text(text)
        run("check-config", "--config", file, code=2)
        file.write_text(with_key(text, new_key("caller")[1]))
        run("check-config", "--config", file)


CHECKS = [
    check_schemas,
    check_selectors,
    check_pod,
    check_store,
    check_service_links,
    check_commands,
]
