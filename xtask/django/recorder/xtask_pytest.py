"""The same for pytest, which loads this module as a plugin."""

from sitecustomize import OUTCOMES, record


def why(report):
    """What a test that did not pass says, in a line and without where."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[-1]
    crash = getattr(report.longrepr, "reprcrash", None)
    said = crash.message if crash else report.longreprtext
    return said.strip().splitlines()[0] if said.strip() else None


def pytest_runtest_logreport(report):
    """A test counts once: when it was called, or where it did not come so far."""
    if not OUTCOMES or (report.when != "call" and report.passed):
        return
    word = {"passed": "passed", "skipped": "skipped"}.get(report.outcome)
    word = word or ("failed" if report.when == "call" else "error")
    record(report.nodeid, word, None if report.passed else why(report))
