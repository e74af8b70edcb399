"""What the release workflow runs, as far as it runs here."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import unittest
from types import ModuleType
from typing import Any

import yaml

from .chart import CHART, ROOT


def script(name: str) -> ModuleType:
    """A script as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Sbom(unittest.TestCase):
    """The list of parts."""

    @classmethod
    def setUpClass(cls) -> None:
        command = ["cargo", "metadata", "--locked", "--format-version", "1", "--filter-platform", "x86_64-unknown-linux-gnu"]
        metadata = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout)
        lock = (ROOT / "Cargo.lock").read_text()
        cls.made: dict[str, Any] = script("sbom").sbom(metadata, lock)
        cls.again: dict[str, Any] = script("sbom").sbom(metadata, lock)

    def test_it_lists_what_is_built_in_and_not_what_only_tests_use(self) -> None:
        names = {part["name"] for part in self.made["components"]}
        self.assertLessEqual({"kube", "tokio", "rustls", "aws-sdk-ec2"}, names)
        self.assertFalse({"proptest", "fault-proxy", "xapi-sim", "innkeeper"} & names)

    def test_each_part_can_be_told_and_checked(self) -> None:
        for part in self.made["components"]:
            self.assertRegex(part["purl"], r"^pkg:cargo/[\w-]+@\d", part)
            self.assertRegex(part["hashes"][0]["content"], r"^[0-9a-f]{64}$")
            self.assertTrue(part["licenses"][0]["expression"])
            self.assertNotIn("/", part["licenses"][0]["expression"])

    def test_each_link_leads_somewhere(self) -> None:
        known = {part["bom-ref"] for part in [*self.made["components"], self.made["metadata"]["component"]]}
        self.assertEqual({link["ref"] for link in self.made["dependencies"]}, known)
        for link in self.made["dependencies"]:
            self.assertLessEqual(set(link["dependsOn"]), known)

    def test_it_is_the_same_each_time(self) -> None:
        self.assertEqual(self.made, self.again)
        self.assertRegex(self.made["serialNumber"], r"^urn:uuid:[0-9a-f-]{36}$")


class Release(unittest.TestCase):
    """The chart's values and the workflow."""

    def test_a_release_writes_its_own_values(self) -> None:
        fill = script("release_chart").fill
        text = (CHART / "values.yaml").read_text()
        for key, value in (("repository", "ghcr.io/x/y"), ("digest", "sha256:1"), ("runbooks", "https://x/")):
            text = fill(text, key, value)
        values = yaml.safe_load(text)
        self.assertEqual((values["image"]["repository"], values["image"]["digest"]), ("ghcr.io/x/y", "sha256:1"))
        self.assertEqual(values["metrics"]["prometheusRule"]["runbooks"], "https://x/")
        with self.assertRaises(SystemExit):
            fill(text, "repository", "again")

    def test_the_workflows_have_few_rights_and_call_what_is_there(self) -> None:
        for file in (ROOT / ".github/workflows").iterdir():
            text = file.read_text()
            workflow = yaml.safe_load(text)
            self.assertIn("permissions", workflow, file.name)
            self.assertNotIn("write", str(workflow["permissions"]), file.name)
            for job in workflow["jobs"].values():
                for step in job["steps"]:
                    self.assertRegex(step.get("uses", "actions/"), "^actions/")
            for path in re.findall(r"(?:scripts|charts|\.ci)/[\w./-]+", text):
                self.assertTrue((ROOT / path).exists(), f"{file.name} names {path}")


if __name__ == "__main__":
    unittest.main()
