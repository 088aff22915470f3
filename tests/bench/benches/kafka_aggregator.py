"""Values a second of kafka-aggregator 0.2.0: its own `compute`, unaltered, on windows of 50 messages.

usage: kafka_aggregator.py FOLDER

FOLDER holds its package, unpacked. What it needs of Faust to be imported is stood in for: no part of `compute`. Prints one JSON
object: values_per_second (fields times messages, all seven statistics of each), the best of some runs.
"""

import json
import random
import sys
import time
import types

FIELDS, MESSAGES, RUNS = 169, 50, 5


def stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules[name] = module


def main(folder):
    stand_in("faust_avro", Record=object)
    package = types.ModuleType("kafkaaggregator")
    package.__path__ = [f"{folder}/kafkaaggregator"]
    sys.modules["kafkaaggregator"] = package
    stand_in("kafkaaggregator.fields", Field=object)
    stand_in("kafkaaggregator.models", make_record=None)
    stand_in("kafkaaggregator.topics", AggregationTopic=object, SourceTopic=object)
    from kafkaaggregator.aggregator import Aggregator
    from kafkaaggregator.operations import Operation

    class Record(dict):
        def __init__(self, **members):
            super().__init__(members)

    fields = [
        types.SimpleNamespace(name=f"{operation}_f{field}", source_field_name=f"f{field}", operation=operation)
        for field in range(FIELDS)
        for operation in Operation.values()
    ]
    aggregator = types.SimpleNamespace(_record=Record, _aggregation_fields=fields)
    generator = random.Random(1)
    messages = [{f"f{field}": 1000 + generator.uniform(-1, 1) for field in range(FIELDS)} for _ in range(MESSAGES)]
    took = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        aggregated = Aggregator.compute(aggregator, time=0.5, window_size=1.0, min_sample_size=2, messages=messages)
        took.append(time.perf_counter() - begun)
    assert aggregated["count"] == MESSAGES and len(aggregated) == 3 + len(fields), aggregated
    print(json.dumps(dict(values_per_second=FIELDS * MESSAGES / min(took), python=sys.version.split()[0])))


if __name__ == "__main__":
    main(*sys.argv[1:])
