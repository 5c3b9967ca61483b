"""A private Prometheus: it watches the services, and evaluates the rules of this checkout."""

import json
import signal
from collections.abc import Iterable

import httpx

from freehold_local.errors import StackError
from freehold_local.folders import CHECKOUT, make_state, write_whole
from freehold_local.installation import find_prometheus
from freehold_local.ports import LOOPBACK, choose_ports
from freehold_local.programs import Program, script_text, write_script
from freehold_local.servers import STOP_TIMEOUT_S, PrivateServer

USUAL_PORT = 9090
ANSWER_TIMEOUT_S = 5
# More often than on servers: who starts a stack by hand wants to see what they have just done.
EVERY = "5s"
KEPT = ("--storage.tsdb.retention.time=30d", "--storage.tsdb.retention.size=2GB")

# Names the trace of a request beside its time, where requests are traced.
EXEMPLARS = ("--enable-feature=exemplar-storage",)


class PrivatePrometheus(PrivateServer):
    """One Prometheus of our own."""

    title = "Prometheus"
    port_name = "prometheus"

    @property
    def url(self) -> str:
        """Its address, for a browser too."""
        return f"http://{LOOPBACK}:{self.port}"

    def watch(self, targets: Iterable[tuple[str, int]]) -> None:
        """Set what it watches: the port of each process, with its service."""
        jobs: dict[str, list[str]] = {}
        for service, port in targets:
            jobs.setdefault(service, []).append(f"{LOOPBACK}:{port}")
        settings = {
            "global": {"scrape_interval": EVERY, "evaluation_interval": EVERY},
            "rule_files": [str(CHECKOUT / "deploy/prometheus/rules/*.yml")],
            "scrape_configs": [
                {"job_name": service, "static_configs": [{"targets": addresses}]}
                for service, addresses in jobs.items()
            ],
        }
        make_state(self.folder)
        # JSON is YAML.
        write_whole(self.folder / "prometheus.yml", json.dumps(settings, indent=2), mode=0o600)

    def prepare(self) -> list[Program]:
        """See PrivateServer."""
        binary = find_prometheus()
        if binary is None:
            raise StackError(
                "No Prometheus on this machine; `make up OBSERVE=1` installs it where it may."
            )
        ports = choose_ports(self.folder / "ports.json", {self.port_name: self._usual_port})
        (program,) = self.programs()
        text = script_text(
            "Starts this private Prometheus.",
            owner=self.owner,
            folder=self.folder,
            environment={},
            command=[
                binary,
                f"--config.file={self.folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                *KEPT,
                *EXEMPLARS,
                f"--web.listen-address={LOOPBACK}:{ports[self.port_name]}",
                "--log.level=warn",
            ],
        )
        write_script(program.script, text, None)
        return [program]

    def programs(self) -> list[Program]:
        """See PrivateServer."""
        return [
            Program(
                name="prometheus",
                script=self.folder / "start",
                folder=self.folder,
                account=None,
                stop_signal=signal.SIGTERM,
                stop_timeout_s=STOP_TIMEOUT_S,
                is_server=True,
            )
        ]

    def is_ready(self) -> bool:
        """Whether it serves."""
        try:
            answer = httpx.get(f"{self.url}/-/ready", timeout=ANSWER_TIMEOUT_S, trust_env=False)
        except httpx.HTTPError:
            return False
        return answer.is_success
