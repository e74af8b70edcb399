"""What the documentation must not leave out, and where its links lead."""

from __future__ import annotations

import re
import textwrap
import unittest

import yaml

from .chart import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md",
         *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "examples").rglob("*.md"))]  # fmt: skip


# Values of conditions; what an Event says was done, its reason says why; and what stands in plans only.
NO_REASONS = {"ToBeMoved", "CannotLeave", "True", "False", "Unknown", "Adopt", "Amend", "Create", "Delete", "Migrate", "Move",
              "Observe", "Place", "Release", "Renew", "Start", "Stop", "Suspend"}  # fmt: skip


# Enums whose variants are written by their names.
ENUMS = (("src/provider/error.rs", "ErrorKind"), ("src/plan/outcome.rs", "Reason"))


def variants(file: str, name: str) -> set[str]:
    """The variants of an enum, which are written by their names."""
    found = re.search(rf"pub enum {name} \{{(.*?)^\}}", (ROOT / file).read_text(), re.MULTILINE | re.DOTALL)
    assert found, f"{file} has no enum {name}"
    named = set(re.findall(r"^    ([A-Z]\w+),$", found[1], re.MULTILINE))
    assert named, f"{file}: {name} is empty"
    return named


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
    for file, name in ENUMS:
        found |= dict.fromkeys(variants(file, name), file)
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

    def test_only_reasons_that_there_are_are_explained_and_each_with_what_to_do(self) -> None:
        page = (ROOT / "docs/operations.md").read_text()
        part = page.split("## What each reason means")[1].split("\n### Events")[0]
        rows = [line.strip("|").split(" | ") for line in part.splitlines() if line.startswith("| `")]
        self.assertGreater(len(rows), 50)
        # Types and values of conditions stand before their reasons.
        known = set(words()) | variants("src/api/condition.rs", "Kind") | variants("src/api/condition.rs", "Status")
        for first, *_, what_to_do in rows:
            self.assertTrue(what_to_do.strip(), first)
            for word in re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*\b", " ".join(re.findall(r"`([^`]+)`", first))):
                self.assertIn(word, known, "docs/operations.md explains a reason that is nowhere written")

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
