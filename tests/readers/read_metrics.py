"""read_metrics.py FILE: reads an OpenMetrics text; prints its families, each with its type and its number of samples."""
import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

with open(sys.argv[1], encoding="utf-8", newline="") as file:
    families = list(text_string_to_metric_families(file.read()))
print(json.dumps({one.name: {"type": one.type, "samples": len(one.samples)} for one in families}))
