"""Writes points with the InfluxDB 1.x client for Python: python1.py HOST PORT DATABASE COUNT

Exit code 3: the client is not installed. What it writes stands in `clients.rs` beside it, point by point.
"""

import sys

try:
    from influxdb import InfluxDBClient
except ImportError:
    sys.exit(3)

host, port, database, count = sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
clients = [InfluxDBClient(host, port, database=database, gzip=zipped) for zipped in (False, True)]


def point(at):
    return {
        "measurement": "python client",
        "tags": {"host": "h,%d" % (at % 5), "pl ace": "M\u00fcnchen=\u00e9"},
        "time": 1700000000000 + at,
        "fields": {"f": at / 8, "i": at - 50, "b": at % 2 == 0, "s": 'say "%d" \\ \u00e9' % at},
    }


points = [point(at) for at in range(count)]
size = 500
for number, begin in enumerate(range(0, count, size)):
    client = clients[number % 2]
    if not client.write_points(points[begin:begin + size], time_precision="ms"):
        sys.exit("a batch was refused")
# Written again with other values by the other client: the last value stands.
for at in range(0, count, 10):
    points[at]["fields"]["i"] = -at
clients[1].write_points(points[0:count:10], time_precision="ms", batch_size=size)
print(clients[0].ping())
