"""Several of these at once overwrite the same points: overlap1.py HOST:PORT DATABASE WRITER

Points of "shared" are everybody's, with a value of its own in each write; those of "own" have a tag with the writer's name. Goes on
until its input ends, then prints how many points it has written.
"""

import random
import sys
import threading

from influxdb import InfluxDBClient

address, database, writer = sys.argv[1], sys.argv[2], sys.argv[3]
host, port = address.split(":")
client = InfluxDBClient(host, int(port), database=database, retries=1)
BEGIN_S = 1699999200
ended = threading.Event()


def wait_for_end():
    sys.stdin.read()
    ended.set()


threading.Thread(target=wait_for_end, daemon=True).start()
wrote, round = 0, 0
while not ended.is_set():
    round += 1
    batch = []
    for at in range(40):
        place = random.randrange(100)
        fields = {"v": "%s %d" % (writer, round), "n": round}
        batch.append({"measurement": "shared", "tags": {"host": "h%d" % (place % 5)}, "time": BEGIN_S + place, "fields": fields})
        batch.append({"measurement": "own", "tags": {"writer": writer}, "time": BEGIN_S + place, "fields": fields})
    assert client.write_points(batch, time_precision="s")
    wrote += len(batch)
print(wrote)
