"""`python -m benchmarks SUITE [--seeds 0 1 2]`: measure, keep each run as JSON as it ends, and write RESULTS.md from all that is there."""

from __future__ import annotations

import argparse

from benchmarks import demo, results, speed

SUITES = {"demo": demo.run, "speed": speed.run}


def main() -> None:
    """Run a suite; without one, list them."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", nargs="?", choices=sorted(SUITES), help="what to measure; nothing: only write RESULTS.md anew")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one run each; those that are there are not run again")
    arguments = parser.parse_args()
    if arguments.suite:
        SUITES[arguments.suite](arguments.seeds)
    else:
        print(f"suites: {', '.join(sorted(SUITES))}")
    results.write()


if __name__ == "__main__":
    main()
