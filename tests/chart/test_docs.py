"""What the documentation must not leave out, and where its links lead."""

from __future__ import annotations

import re
import textwrap
import unittest

import yaml

from .chart import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]  # fmt: skip


# Values of conditions, and what an Event says was done; its reason says why.
NO_REASONS = {"True", "False", "Unknown", "Adopt", "Amend", "Create", "Delete", "Migrate", "Move", "Observe", "Place", "Release",
              "Renew", "Start", "Stop", "Suspend"}  # fmt: skip


def without_tests(text: str) -> str:
    """A source file's part that runs."""
    return text.split("#[cfg(test)]")[0]


def words() -> dict[str, str]:
    """Words in CamelCase that the controllers write into conditions and events, and where each stands."""
    found = {}
    for part in ("guest", "pool", "scheduler", "workload"):
        for file in sorted((ROOT / "src" / part).rglob("*.rs")):
            if not file.stem.endswith("tests") and file.stem not in {"testing", "model_world"}:
                for word in re.findall(r'"([A-Z][a-z]+(?:[A-Z][a-z]+)*)"', without_tests(file.read_text())):
                    if not word.endswith("Exceeded"):  # EC2's own codes
                        found[word] = str(file.relative_to(ROOT))
    kinds = without_tests((ROOT / "src/provider/error.rs").read_text())
    found |= {word: "src/provider/error.rs" for word in re.findall(r"Self::\w+ => \"(\w+)\"", kinds)}
    return found


def anchors(text: str) -> set[str]:
    """The headings of a page as links name them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


class Docs(unittest.TestCase):
    """No words of ours are left unexplained, and no link leads nowhere."""

    def test_each_reason_is_explained(self) -> None:
        explained = set(re.findall(r"`(\w+)`", (ROOT / "docs/operations.md").read_text()))
        missing = {word: file for word, file in words().items() if word not in explained | NO_REASONS}
        self.assertEqual(missing, {}, "docs/operations.md explains every reason, and these are not there")

    def test_links_lead_somewhere(self) -> None:
        for page in PAGES:
            text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
            for link in re.findall(r"\]\(([^)\s]+)\)", text):
                if re.match(r"[a-z]+:", link):
                    continue
                path, _, anchor = link.partition("#")
                target = (page.parent / path).resolve() if path else page
                self.assertTrue(target.exists(), f"{page.relative_to(ROOT)}: {link}")
                if anchor:
                    self.assertIn(anchor, anchors(target.read_text()), f"{page.relative_to(ROOT)}: {link}")

    def test_manifests_on_pages_are_those_of_examples(self) -> None:
        """There test_cluster applies them; on a page they would grow old unseen."""
        known = [each for file in (ROOT / "examples").rglob("*.yaml") for each in yaml.safe_load_all(file.read_text())]
        block = re.compile(r"^( *)apiVersion: innkeeper\.dev/.*\n(?:\1[^$`\s].*\n|\1 +.*\n)*", re.MULTILINE)
        for page in PAGES:
            for found in block.finditer(page.read_text()):
                self.assertIn(yaml.safe_load(textwrap.dedent(found[0])), known, page.relative_to(ROOT))


if __name__ == "__main__":
    unittest.main()
