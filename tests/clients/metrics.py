"""Reads metrics as Prometheus's own Python client does, and checks what the format alone does not.

The text comes on standard input. Ends with an error at the first line that is not as it should be.
"""

import sys

from prometheus_client.parser import text_string_to_metric_families

families = list(text_string_to_metric_families(sys.stdin.read()))
names = [family.name for family in families]
assert len(names) > 40, names
assert len(names) == len(set(names)), "a family is told twice"

seen = set()
for family in families:
    assert family.documentation, f"{family.name} has no HELP"
    assert family.type in ("counter", "gauge", "histogram"), f"{family.name} is {family.type}"
    assert family.name.startswith(("coremap_", "process_")), family.name
    for unit in ("_us", "_ms", "_ns", "_milliseconds", "_kib", "_permille", "_percent"):
        assert not family.name.endswith(unit), f"{family.name} is not in a base unit"
    for sample in family.samples:
        series = (sample.name, tuple(sorted(sample.labels.items())))
        assert series not in seen, f"{series} is told twice"
        seen.add(series)
        assert sample.value >= 0, sample
        if family.type == "counter":
            assert sample.name.endswith("_total"), sample

cores = [s for f in families if f.name == "coremap_commands_processed" for s in f.samples]
assert [s.labels["core"] for s in cores] == ["0", "1"], cores

histograms = [family for family in families if family.type == "histogram"]
assert histograms, "there is no histogram"
for family in histograms:
    buckets, counts = {}, {}
    for sample in family.samples:
        command = sample.labels["command"]
        if sample.name.endswith("_bucket"):
            buckets.setdefault(command, []).append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_count"):
            counts[command] = sample.value
    assert buckets.keys() == counts.keys() and "set" in counts, counts
    for command, steps in buckets.items():
        assert steps == sorted(steps), f"{command}: bounds go down"
        values = [value for _, value in steps]
        assert values == sorted(values), f"{command}: counts go down"
        assert steps[-1] == (float("inf"), counts[command]), command
