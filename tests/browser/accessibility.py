"""axe-core in a page: what a screen reader, a keyboard or weak eyes would stumble on."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from playwright.sync_api import Page

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
IMPACTS = ("serious", "critical")
CONTRAST = "color-contrast"
RUN = """async rules => {
    const only = rules.length ? {runOnly: {type: "rule", values: rules}} : {};
    const found = await axe.run(document, {...only, resultTypes: ["violations"], preload: false});
    return found.violations.map(({id, impact, help, nodes}) => ({
        id, impact, help,
        nodes: nodes.map(({target, html, failureSummary}) => ({target, html, failureSummary})),
    }));
}"""


def violations(page: Page, *rules: str) -> list[str]:
    """A line for each node that breaks a rule; without rules named, of all of them.

    The script is evaluated by the debugger, past the content policy, which stays as it is.
    """
    if not page.evaluate("typeof axe === 'object'"):
        page.evaluate(AXE)
    found: list[dict[str, Any]] = page.evaluate(RUN, list(rules))
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {' '.join(map(str, node['target']))}"
        f"\n      {node['html'][:160]}\n      {node['failureSummary'].splitlines()[-1].strip()}"
        for rule in found
        if rule["impact"] in IMPACTS
        for node in rule["nodes"]
    ]
