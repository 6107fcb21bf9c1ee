"""Asks an advisory service about every package that an installation with all extras has.

    python -m tests.release.audit build/release/requirements.txt

pip-audit leaves out what the service does not know or did not answer for, and succeeds all the
same. Here that is a failure: nobody looked.
"""

from __future__ import annotations

import json
import subprocess
import sys

UNREACHED = (
    "The advisory service did not answer for {count} of {total} packages, so nobody knows whether "
    "they are safe. Run this where it can be reached, or leave it out: `make release-check "
    "AUDIT=skip`."
)


def main() -> None:
    requirements = sys.argv[1]
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pip_audit", "--requirement", requirements),
            *("--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        last = (done.stderr.strip().splitlines() or ["pip-audit printed nothing"])[-1]
        print(UNREACHED.format(count="any", total="the"), f"pip-audit says: {last}", sep="\n")
        raise SystemExit(1) from None
    found = [
        f"{package['name']} {package['version']}: {vulnerability['id']}, fixed in "
        f"{', '.join(vulnerability['fix_versions']) or 'no version yet'}"
        for package in packages
        for vulnerability in package.get("vulns", ())
    ]
    skipped = [package for package in packages if "skip_reason" in package]
    for line in found:
        print(f"✗ {line}")
    if skipped:
        print(UNREACHED.format(count=len(skipped), total=len(packages)))
    if found or skipped:
        raise SystemExit(1)
    print(f"✓ no advisory names any of {len(packages)} packages")


if __name__ == "__main__":
    main()
