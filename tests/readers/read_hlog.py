"""read_hlog.py FILE: the legs of an HdrHistogram interval log, its intervals added up, as JSON."""
import json
import sys

from hdrh.histogram import HdrHistogram
from hdrh.log import HistogramLogReader

HOUR_NS = 3600 * 10**9

reader = HistogramLogReader(sys.argv[1], HdrHistogram(1, HOUR_NS, 3))
sums = {}
while (interval := reader.get_next_interval_histogram()) is not None:
    sums.setdefault(interval.get_tag(), HdrHistogram(1, HOUR_NS, 3)).add(interval)
legs = {
    tag: {
        "count": total.get_total_count(),
        "max_ns": total.get_max_value(),
        "p50_ns": total.get_value_at_percentile(50),
        "p99_ns": total.get_value_at_percentile(99),
    }
    for tag, total in sums.items()
}
json.dump({"start_seconds": reader.get_start_time_sec(), "legs": legs}, sys.stdout)
