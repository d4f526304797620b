"""Writes what became of every test to a file, one line of JSON each, whoever runs them.

Python imports a module of this name by itself, so a project's own command need not know of it.
"""

import json
import os
import unittest

OUTCOMES = os.environ.get("XTASK_OUTCOMES")


def record(test, outcome, why=None):
    """Adds one line; several processes may do so at once."""
    line = json.dumps({"test": str(test), "outcome": outcome, "why": why})
    with open(OUTCOMES, "a", encoding="utf-8") as file:
        file.write(line + "\n")


def last_line(error):
    """What an exception says, without where."""
    return f"{error[0].__name__}: {error[1]}".strip() if error and error[0] else None


def patched(name, outcome):
    """A method of a result that records and then does what it always did."""
    usual = getattr(unittest.TestResult, name)

    def add(self, test, *rest):
        why = rest[0] if rest else None
        why = why if isinstance(why, str) else last_line(why)
        record(test.id() if hasattr(test, "id") else test, outcome, why)
        return usual(self, test, *rest)

    return add


def add_sub_test(usual):
    """Of a test's parts only those that failed count, as the test's own outcome."""

    def add(self, test, subtest, error):
        if error is not None:
            failed = issubclass(error[0], test.failureException)
            record(test.id(), "failed" if failed else "error", last_line(error))
        return usual(self, test, subtest, error)

    return add


if OUTCOMES:
    for method, word in {
        "addSuccess": "passed",
        "addFailure": "failed",
        "addError": "error",
        "addSkip": "skipped",
        "addExpectedFailure": "expected failure",
        "addUnexpectedSuccess": "failed",
    }.items():
        setattr(unittest.TestResult, method, patched(method, word))
    unittest.TestResult.addSubTest = add_sub_test(unittest.TestResult.addSubTest)
