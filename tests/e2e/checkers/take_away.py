"""Takes something away from a centre or an edge that is stopped, as a person or a disk might.

usage: take_away.py block LOG      one block out of the middle of the log's largest partition
       take_away.py row LAKE TOPIC      one row of one file
       take_away.py older LAKE TOPIC    the newest file becomes a copy of the oldest
       take_away.py segment BUFFER LANE    the blocks in the middle of the lane's last segment but one become noise

Prints one JSON object: what is gone. records of a block, or of blocks; rows that the file had (before), and has (after).
"""

import json
import pathlib
import shutil
import sqlite3
import sys


def block(log):
    best = None
    for file in pathlib.Path(log, "segments").glob("*/*.db"):
        with sqlite3.connect(file) as connection:
            count, middle = connection.execute("SELECT count(*), (min(position) + max(position)) / 2 FROM blocks").fetchone()
        if best is None or count > best[0]:
            best = (count, file, middle)
    _, file, middle = best
    with sqlite3.connect(file) as connection:
        number, records = connection.execute("SELECT number, records FROM blocks WHERE position = ?", [middle]).fetchone()
        connection.execute("DELETE FROM blocks WHERE position = ?", [middle])
    connection.close()
    return dict(file=str(file), number=number, records=records)


def files(lake, topic):
    return sorted(pathlib.Path(lake).glob(f"efd_site=*/efd_topic={topic}/*/*.parquet"))


def row(lake, topic):
    import pyarrow.parquet

    file = files(lake, topic)[0]
    table = pyarrow.parquet.ParquetFile(file).read()
    pyarrow.parquet.write_table(table.slice(1), file, compression="zstd")
    return dict(file=str(file.relative_to(lake)), before=len(table), after=len(table) - 1)


def older(lake, topic):
    import pyarrow.parquet

    oldest, *_, newest = files(lake, topic)
    count = [pyarrow.parquet.read_metadata(file).num_rows for file in (newest, oldest)]
    shutil.copyfile(oldest, newest)
    return dict(file=str(newest.relative_to(lake)), before=count[0], after=count[1])


def segment(buffer, lane):
    *_, file, _ = sorted(pathlib.Path(buffer, "segments", lane).glob("*.db"))
    with sqlite3.connect(file) as connection:
        rows = connection.execute("SELECT position, number, records FROM blocks ORDER BY position").fetchall()
        hit = rows[len(rows) // 3 : 2 * len(rows) // 3]
        for position, _, _ in hit:
            connection.execute("UPDATE blocks SET data = randomblob(length(data)) WHERE position = ?", [position])
    connection.close()
    return dict(file=str(file), numbers=[number for _, number, _ in hit], records=sum(records for *_, records in hit))


if __name__ == "__main__":
    print(json.dumps({"segment": segment, "block": block, "row": row, "older": older}[sys.argv[1]](*sys.argv[2:])))
