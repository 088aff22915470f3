"""Compares the schemas of a site's public topics with golden ones, as JSON values.

usage: schemas.py REGISTRY SITE GOLDEN

GOLDEN has a line `{"dds_topic": …, "schema": …}` for each topic, of all of which something was published. The last line
printed is JSON.
"""

import json
import pathlib
import sys
import urllib.request


def registered(registry, subject):
    try:
        with urllib.request.urlopen(f"{registry}/subjects/{subject}/versions", timeout=30) as answer:
            versions = json.load(answer)
        for version in versions:
            with urllib.request.urlopen(f"{registry}/subjects/{subject}/versions/{version}", timeout=30) as answer:
                yield json.loads(json.load(answer)["schema"])
    except urllib.error.HTTPError as error:
        if error.code != 404:
            raise


def main():
    registry, site, golden = sys.argv[1:]
    result = {"golden": 0, "equal": 0, "missing": [], "different": [], "units": 0}
    for line in pathlib.Path(golden).read_text().splitlines():
        schema = json.loads(line)["schema"]
        name = schema["name"]
        found = list(registered(registry.rstrip("/"), f"{site}.{name}-value"))
        result["golden"] += 1
        result["units"] += sum("units" in field for field in schema["fields"])
        if not found:
            result["missing"].append(name)
        elif found != [schema]:
            result["different"].append(name)
        else:
            result["equal"] += 1
    print(json.dumps(result))


if __name__ == "__main__":
    main()
