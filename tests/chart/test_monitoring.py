"""Alerts and dashboard: over metrics that there are, each alert with a runbook, and each fires for what it is about."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from .chart import CACHE, CHART, ROOT, Manifests

ALERTS: list[dict[str, Any]] = yaml.safe_load((CHART / "files/alerts.yaml").read_text())
DASHBOARD: dict[str, Any] = json.loads((CHART / "files/dashboard.json").read_text())
RUNBOOKS = ROOT / "docs/runbooks"


def expressions() -> list[str]:
    """Of the alerts and of the dashboard's panels, with Grafana's variables replaced."""
    panels = [target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", [])]
    panels = [each.replace("$__rate_interval", "5m").replace("$pool", ".*") for each in panels]
    return [alert["expr"] for alert in ALERTS] + panels


def file_name(alert: str) -> str:
    """A runbook's."""
    return re.sub(r"(?<!^)(?=[A-Z])", "-", alert).lower() + ".md"


class Case(NamedTuple):
    """An alert, what makes it fire, and its labels but for the severity."""

    alert: str
    series: dict[str, str]
    labels: dict[str, str]


GROWS, STILL = "0+60x120", "0x120"
CASES = (
    Case("InnkeeperDown", {}, {}),
    Case("InnkeeperNoLeader", {'innkeeper_leader{pod="a"}': STILL, 'innkeeper_leader{pod="b"}': STILL}, {}),
    Case("InnkeeperTwoLeaders", {'innkeeper_leader{pod="a"}': "1x120", 'innkeeper_leader{pod="b"}': "1x120"}, {}),
    Case("InnkeeperPoolNotReady", {'innkeeper_pool_ready{pool="p"}': STILL}, {"pool": "p"}),
    Case("InnkeeperGuestsFailed", {'innkeeper_guests{pool="p",phase="Failed"}': "1x120"}, {"pool": "p"}),
    Case("InnkeeperGuestsUnknown", {'innkeeper_guests{pool="p",phase="Unknown"}': "1x120"}, {"pool": "p"}),
    Case("InnkeeperGuestsPending", {'innkeeper_guests{pool="",phase="Pending"}': "1x120"}, {}),
    Case("InnkeeperGuestsStayDeleting", {'innkeeper_guests{pool="p",phase="Deleting"}': "1x120"}, {"pool": "p"}),
    Case("InnkeeperOrphans", {'innkeeper_pool_orphans{pool="p"}': "2x120"}, {"pool": "p"}),
    Case(
        "InnkeeperProviderErrors",
        {f'innkeeper_provider_call_duration_seconds_count{{pool="p",outcome="{outcome}"}}': GROWS for outcome in ("ok", "Auth")},
        {"pool": "p"},
    ),
    Case(
        "InnkeeperRunsFail",
        {f'innkeeper_reconcile_duration_seconds_count{{controller="guest",outcome="{each}"}}': GROWS for each in ("done", "failed")},
        {"controller": "guest"},
    ),
    Case(
        "InnkeeperApiDenied",
        {'innkeeper_api_request_duration_seconds_count{verb="get",resource="secrets",code="403"}': GROWS},
        {"verb": "get", "resource": "secrets", "code": "403"},
    ),
    Case(
        "InnkeeperSlow",
        {f'innkeeper_queue_wait_seconds_bucket{{controller="guest",le="{le}"}}': values
         for le, values in (("10", STILL), ("120", GROWS), ("+Inf", GROWS))},
        {"controller": "guest"},
    ),
)  # fmt: skip


class Monitoring(unittest.TestCase):
    """Without a Prometheus."""

    def test_only_metrics_that_there_are(self) -> None:
        documented = set(re.findall(r"^\| `(\w+)`", (ROOT / "docs/metrics.md").read_text(), re.MULTILINE))
        known = {name + suffix for name in documented for suffix in ("", "_total", "_info", "_bucket", "_count", "_sum")}
        for expression in expressions():
            for name in re.findall(r"\b(?:innkeeper|process)_\w+", expression):
                self.assertIn(name, known, expression)

    def test_each_alert_has_a_runbook_and_a_case(self) -> None:
        names = [alert["alert"] for alert in ALERTS]
        self.assertEqual(sorted(case.alert for case in CASES), sorted(names))
        runbooks = {file.name for file in RUNBOOKS.iterdir()} - {"README.md"}
        self.assertEqual(runbooks, {file_name(name) for name in names})
        listed = (RUNBOOKS / "README.md").read_text()
        for alert in ALERTS:
            self.assertIn(f"[{alert['alert']}]({file_name(alert['alert'])})", listed)
            self.assertIn(alert["labels"]["severity"], {"critical", "warning"})
            self.assertLessEqual({"summary", "description"}, set(alert["annotations"]))
            text = (RUNBOOKS / file_name(alert["alert"])).read_text()
            self.assertTrue(text.startswith(f"# {alert['alert']}\n"), alert["alert"])

    def test_the_chart_renders_them(self) -> None:
        on = {"enabled": True, "labels": {"release": "prometheus"}}
        made = Manifests({"metrics": {"serviceMonitor": on, "dashboard": on | {"annotations": {"folder": "x"}},
                                      "prometheusRule": on | {"runbooks": "https://x/runbooks/"}}})  # fmt: skip
        for kind in ("ServiceMonitor", "PrometheusRule"):
            self.assertEqual(made.one(kind)["metadata"]["labels"]["release"], "prometheus")
        monitor, service = made.one("ServiceMonitor")["spec"], made.one("Service")
        self.assertLessEqual(monitor["selector"]["matchLabels"].items(), service["metadata"]["labels"].items())
        self.assertIn(monitor["endpoints"][0]["port"], [port["name"] for port in service["spec"]["ports"]])
        rules = made.one("PrometheusRule")["spec"]["groups"][0]["rules"]
        for rule, alert in zip(rules, ALERTS, strict=True):
            link = rule["annotations"].pop("runbook_url")
            self.assertEqual((rule, link), (alert, "https://x/runbooks/" + file_name(alert["alert"])))
        self.assertEqual(json.loads(made.one("ConfigMap")["data"]["innkeeper.json"]), DASHBOARD)
        without = Manifests({"metrics": {"prometheusRule": {"enabled": True}}}).one("PrometheusRule")
        self.assertNotIn("runbook_url", without["spec"]["groups"][0]["rules"][0]["annotations"])


class Prometheus(unittest.TestCase):
    """By promtool."""

    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def promtool(self, *command: str, **files: Any) -> None:
        """Writes files and runs promtool on them."""
        for name, content in files.items():
            (self.folder / f"{name}.yaml").write_text(yaml.safe_dump(content))
        done = subprocess.run([str(CACHE / "bin/promtool"), *command], cwd=self.folder, capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def test_every_expression_can_be_asked(self) -> None:
        rules = [{"record": f"expression:{at}", "expr": each} for at, each in enumerate(expressions())]
        self.promtool("check", "rules", "rules.yaml", rules={"groups": [{"name": "all", "rules": rules}]})

    def test_each_alert_fires_in_its_time(self) -> None:
        alerts = {alert["alert"]: alert for alert in ALERTS}
        tests = []
        for case in CASES:
            severity = alerts[case.alert]["labels"]["severity"]
            labels = {"__name__": "ALERTS", "alertname": case.alert, "alertstate": "firing", "severity": severity} | case.labels
            shown = "{" + ",".join(f"{key}={json.dumps(value)}" for key, value in labels.items()) + "}"
            ask = f'ALERTS{{alertname="{case.alert}",alertstate="firing"}}'
            minutes = {"m": 1, "h": 60}[alerts[case.alert]["for"][-1]] * int(alerts[case.alert]["for"][:-1])
            tests.append({
                "interval": "1m", "name": case.alert,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": [
                    {"expr": ask, "eval_time": f"{max(minutes - 1, 0)}m", "exp_samples": []},
                    # Rates need two samples first.
                    {"expr": ask, "eval_time": f"{minutes + 12}m", "exp_samples": [{"labels": shown, "value": 1}]},
                ],
            })  # fmt: skip
        calm = {"innkeeper_build_info": "1x120", 'innkeeper_leader{pod="a"}': "1x120", 'innkeeper_leader{pod="b"}': STILL,
                'innkeeper_pool_ready{pool="p"}': "1x120", 'innkeeper_guests{pool="p",phase="Running"}': "9x120",
                'innkeeper_pool_orphans{pool="p"}': STILL,
                'innkeeper_provider_call_duration_seconds_count{pool="p",outcome="ok"}': GROWS,
                'innkeeper_reconcile_duration_seconds_count{controller="guest",outcome="done"}': GROWS,
                'innkeeper_api_request_duration_seconds_count{verb="get",resource="secrets",code="200"}': GROWS}  # fmt: skip
        series = [{"series": name, "values": values} for name, values in calm.items()]
        tests.append({"interval": "1m", "name": "all is well", "input_series": series,
                      "promql_expr_test": [{"expr": "ALERTS", "eval_time": "90m", "exp_samples": []}]})  # fmt: skip
        rules = {"groups": [{"name": "innkeeper", "rules": ALERTS}]}
        self.promtool("test", "rules", "tests.yaml", rules=rules, tests={"rule_files": ["rules.yaml"], "tests": tests})


if __name__ == "__main__":
    unittest.main()
