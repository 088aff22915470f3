"""Holds the account of a centre against the lake itself, and against what was published.

It shares no code with the daemons: DuckDB counts the rows of the lake.

usage: completeness.py ACCOUNT LAKE ORACLE     ACCOUNT: what `efd-central account --hours --all --json` printed
       completeness.py - LAKE          the table _completeness of the lake, as a notebook reads it: of SAL's topics the sums of
                                       published, centre, lake, lost and unnamed, and how many rows are complete

Prints one JSON object: rows (of the account), compared (topics and hours that are in both), published, centre, lost,
unnamed (of SAL's topics, by the account), oracle (samples published, by the oracle), differences (the first ten).
"""

import collections
import datetime
import json
import pathlib
import sys


def lake_counts(lake):
    import duckdb

    connection = duckdb.connect()
    counts = {}
    for folder in pathlib.Path(lake).glob("efd_site=*/efd_topic=*"):
        site = folder.parent.name.removeprefix("efd_site=")
        topic = folder.name.removeprefix("efd_topic=")
        files = f"{folder}/*/*.parquet"
        query = f"SELECT epoch_ns(time) // 3600000000000 h, count(*) FROM read_parquet('{files}', union_by_name=true) GROUP BY h"
        for hour, count in connection.execute(query).fetchall():
            counts[(site, topic, hour)] = count
    return counts


def published(oracle):
    counts = collections.Counter()
    for path in pathlib.Path(oracle).glob("**/*.jsonl"):
        if path.parent.name == "values":
            with path.open() as lines:
                counts[path.name.removesuffix(".jsonl")] += sum(1 for _ in lines)
    return counts


def table(lake):
    import pandas

    days = [pandas.read_parquet(file) for file in sorted(pathlib.Path(lake, "_completeness").glob("efd_date=*.parquet"))]
    rows = pandas.concat(days)
    rows = rows[rows.topic.str.startswith("lsst.sal.")]
    names = ("published", "centre", "lake", "lost", "unnamed")
    return {name: int(rows[name].sum()) for name in names} | dict(rows=len(rows), complete=int(rows.complete.sum()))


def main():
    if sys.argv[1] == "-":
        return print(json.dumps(table(sys.argv[2])))
    account, lake, oracle = sys.argv[1:]
    account = json.loads(pathlib.Path(account).read_text())
    lake, oracle = lake_counts(lake), published(oracle)
    result = collections.Counter(rows=len(account["rows"]))
    differences = []
    by_topic = collections.defaultdict(collections.Counter)
    seen = set()
    for row in account["rows"]:
        hour = int(datetime.datetime.fromisoformat(row["hour"][:19] + "+00:00").timestamp()) // 3600
        key = (row["site"], row["topic"], hour)
        seen.add(key)
        found = lake.get(key, 0)
        if found != row["lake"] or found != row["centre"]:
            differences.append(f"{key}: {found} in the lake, the account says {row['lake']} of {row['centre']}")
        else:
            result["compared"] += 1
        lost = sum(row["lost"].values())
        if row["topic"].startswith("lsst.sal."):
            result += collections.Counter({name: row[name] for name in ("published", "centre", "unnamed")}, lost=lost)
        by_topic[row["topic"]] += collections.Counter(published=row["published"] + row["before_contact"])
    differences += [f"{key}: {count} in the lake, nothing in the account" for key, count in lake.items() if key not in seen]
    for topic, count in oracle.items():
        if by_topic[topic]["published"] != count:
            differences.append(f"{topic}: {count} published, the account says {by_topic[topic]['published']}")
    names = ("rows", "compared", "published", "centre", "lost", "unnamed")
    print(json.dumps({name: result[name] for name in names} | dict(oracle=oracle.total(), differences=differences[:10])))


if __name__ == "__main__":
    main()
