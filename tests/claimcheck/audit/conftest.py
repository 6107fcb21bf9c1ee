"""The suites are projects of their own, which the tests run in processes."""

collect_ignore = ["suites"]
