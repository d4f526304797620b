"""The same for pytest, which loads this module as a plugin."""

from sitecustomize import OUTCOMES, record


def pytest_runtest_logreport(report):
    """A test counts once: when it was called, or where it did not come so far."""
    if not OUTCOMES or (report.when != "call" and report.passed):
        return
    word = {"passed": "passed", "skipped": "skipped"}.get(report.outcome)
    record(report.nodeid, word or ("failed" if report.when == "call" else "error"))
