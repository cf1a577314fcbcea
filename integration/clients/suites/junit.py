"""Prints a line for each test of results in JUnit's XML, and what the failing ones said."""

import sys
import xml.etree.ElementTree as ElementTree


def name(case):
    return ".".join(part for part in (case.get("classname"), case.get("name")) if part).replace("\n", " ").replace("\t", " ")


def main(paths):
    for path in paths:
        for case in ElementTree.parse(path).iter("testcase"):
            failed = [child for child in case if child.tag in ("failure", "error")]
            if failed:
                print("FAIL", name(case), flush=True)
                for child in failed:
                    said = (child.get("message") or "") + "\n" + (child.text or "")
                    print("\n".join("       " + line for line in said.strip().splitlines()[-30:]), file=sys.stderr, flush=True)
            elif case.find("skipped") is not None:
                print("skip", name(case))
            else:
                print("pass", name(case))


main(sys.argv[1:])
