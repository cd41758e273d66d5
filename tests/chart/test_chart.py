"""The Helm chart renders, says no to what it does not know, and fits the API of Kubernetes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mynamo.cli.app import root

CHART = Path(__file__).parents[2] / "deploy" / "helm" / "mynamo"
TOOLS = Path(os.environ["MYNAMO_CACHE"]) / "chart"
HELM = shutil.which("helm") or shutil.which("helm", path=str(TOOLS))
PYTHON = TOOLS / "venv" / "bin" / "python"
KUBERNETES = "1.33"
CONFIGS = ["--set", "config.gateway=g,config.writer=w,config.indexer=i"]
EVERYTHING = [
    *CONFIGS, "--set", "config.admin=a,filesSecret=f,serviceMonitor.enabled=true,"
    "gateway.autoscaling.enabled=true,podAnnotations.a=b,imagePullSecrets[0].name=n,"
    "nodeSelector.a=b,tolerations[0].operator=Exists,serviceMonitor.labels.a=b",
]  # fmt: skip

pytestmark = pytest.mark.skipif(
    not HELM or not PYTHON.exists(), reason="Helm is not here: run `make chart-tools`"
)


def helm(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HELM or "helm", *words], capture_output=True, text=True, check=False)


def render(*options: str) -> str:
    done = helm("template", "test", str(CHART), "--kube-version", KUBERNETES, *options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def resources(text: str) -> dict[tuple[str, str], Any]:
    """All resources, by their kinds and names."""
    program = "import json, sys, yaml; print(json.dumps(list(yaml.safe_load_all(sys.stdin))))"
    done = subprocess.run([PYTHON, "-c", program], input=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    found = [one for one in json.loads(done.stdout) if one]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


def complaints(text: str, folder: Path) -> str:
    """What does not fit the schemas of Kubernetes."""
    file = folder / "rendered.yaml"
    file.write_text(text)
    done = subprocess.run(
        [PYTHON.parent / "kubernetes-validate", "--strict", "--quiet", "--no-warn",
         "-k", KUBERNETES, file],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode == 0) is (not done.stdout + done.stderr)
    return done.stdout + done.stderr


def test_it_passes_helms_own_checks() -> None:
    done = helm("lint", "--strict", str(CHART), *CONFIGS)
    assert done.returncode == 0, done.stdout


def test_what_it_renders_fits_the_api(tmp_path: Path) -> None:
    least, everything = render(*CONFIGS), render(*EVERYTHING)
    assert complaints(least, tmp_path) == ""
    assert complaints(everything, tmp_path) == ""
    assert len(resources(least)) == 8
    assert resources(everything).keys() - resources(least).keys() == {
        ("HorizontalPodAutoscaler", "test-mynamo-gateway"), ("Job", "test-mynamo-admin"),
        ("Secret", "test-mynamo-admin"), ("Service", "test-mynamo-metrics"),
        ("ServiceMonitor", "test-mynamo-metrics"),  # it alone has no schema here
    }  # fmt: skip
    wrong = everything.replace("terminationGracePeriodSeconds", "terminationGraceSeconds")
    assert "terminationGraceSeconds" in complaints(wrong, tmp_path)


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        ([], "config.gateway: the text of its mynamo.toml"),
        ([*CONFIGS, "--set", "gateway.replica=3"], "additional properties 'replica' not allowed"),
        ([*CONFIGS, "--set", "writer.replicas=0"], "minimum"),
    ],
)
def test_values_that_mean_nothing_are_refused(options: list[str], answer: str) -> None:
    done = helm("template", "test", str(CHART), "--kube-version", KUBERNETES, *options)
    assert done.returncode != 0
    assert answer in done.stderr


def test_each_pod_runs_a_command_that_there_is_with_no_right_of_its_own() -> None:
    found = resources(render(*EVERYTHING))
    pods = [one["spec"]["template"]["spec"] for (kind, _), one in found.items()
            if kind in ("Deployment", "Job")]  # fmt: skip
    assert len(pods) == 4
    for pod in pods:
        (container,) = pod["containers"]
        assert CliRunner().invoke(root, [*container["args"], "--help"]).exit_code == 0
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }  # fmt: skip
        config = next(one["value"] for one in container["env"] if one["name"] == "MYNAMO_CONFIG")
        (item,) = pod["volumes"][0]["secret"]["items"]
        assert config == f"/etc/mynamo/{item['path']}"
        secret = found["Secret", pod["volumes"][0]["secret"]["secretName"]]
        assert item["key"] in secret["stringData"]


def test_a_changed_configuration_replaces_the_pods_that_read_it() -> None:
    def checksums(*options: str) -> dict[str, str]:
        return {
            name: one["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
            for (kind, name), one in resources(render(*CONFIGS, *options)).items()
            if kind == "Deployment"
        }

    before, after = checksums(), checksums("--set", "config.writer=other")
    assert {name for name in before if before[name] != after[name]} == {"test-mynamo-writer"}


def test_probes_ask_no_server() -> None:
    deployments = [one for (kind, _), one in resources(render(*CONFIGS)).items()
                   if kind == "Deployment"]  # fmt: skip
    paths = set()
    for one in deployments:
        (container,) = one["spec"]["template"]["spec"]["containers"]
        ports = {port["name"] for port in container["ports"]}
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            paths.add(container[probe]["httpGet"]["path"])
            assert container[probe]["httpGet"]["port"] in ports
    assert paths == {"/", "/metrics?name%5B%5D=mynamo_build_info"}
