"""The 1.x client for Python: python1.py write|look HOST:PORT DATABASE COUNT

What it writes stands in tests/it/clients.rs, point by point. What it sees is printed, so that it can be compared.
"""

import sys

from influxdb import InfluxDBClient
from influxdb.exceptions import InfluxDBClientError, InfluxDBServerError

action, address, database, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
host, port = address.split(":")
BEGIN_S = 1699999200
UNITS = {"n": 1, "u": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}


def client(**more):
    return InfluxDBClient(host, int(port), database=database, **more)


def point(measurement, precision, at):
    return {
        "measurement": measurement,
        "tags": {"host": "h,%d" % (at % 5), "pl ace": "M\u00fcnchen=\u00e9"},
        "time": BEGIN_S * 10**9 // UNITS[precision] + at,
        "fields": {"f": at / 8, "i": at - 50, "b": at % 2 == 0, "s": 'say "%d" \\ \u00e9' % at},
    }


def points(measurement, precision):
    """All of them, and every tenth again with another integer."""
    first = [point(measurement, precision, at) for at in range(count)]
    second = [point(measurement, precision, at) for at in range(0, count, 10)]
    for at, again in enumerate(second):
        again["fields"]["i"] = -10 * at
    return first, second


def write():
    plain, zipped = client(), client(gzip=True)
    # It is there already: creating it again changes nothing.
    plain.create_database(database)
    for precision in UNITS:
        for part in points("python " + precision, precision):
            assert plain.write_points(part, time_precision=precision, batch_size=200)
    for part in points("python gzip", "ms"):
        assert zipped.write_points(part, time_precision="ms", retention_policy="autogen", tags={"host": "not used"})
    for part in points("python lines", "n"):
        lines = []
        for p in part:
            f = p["fields"]
            quoted = f["s"].replace("\\", "\\\\").replace('"', '\\"')
            lines.append(
                'python\\ lines,host=%s,pl\\ ace=M\u00fcnchen\\=\u00e9 f=%r,i=%di,b=%r,s="%s" %d'
                % (p["tags"]["host"].replace(",", "\\,"), f["f"], f["i"], f["b"], quoted, p["time"])
            )
        assert plain.write_points(lines, protocol="line", consistency="one")


def see(what, call):
    try:
        print(what, repr(call()))
    except (InfluxDBClientError, InfluxDBServerError) as error:
        print(what, "raises", repr(error), getattr(error, "code", ""))


def look():
    packed, text = client(), client(headers={"Accept": "application/json"})
    see("ping", packed.ping)
    see("databases", lambda: sorted(d["name"] for d in text.get_list_database() if d["name"] == database))
    see("policies", lambda: packed.get_list_retention_policies(database))
    see("measurements", packed.get_list_measurements)
    see("series", lambda: packed.get_list_series(measurement="python s"))
    select = 'SELECT * FROM "python ms" WHERE "host" = $host LIMIT 20'
    bound = {"params": {"params": '{"host":"h,3"}'}}
    see("msgpack", lambda: packed.query(select, bind_params={"host": "h,3"}).raw)
    see("json", lambda: text.query(select, **bound).raw)
    for epoch in UNITS:
        see("epoch " + epoch, lambda: text.query('SELECT f FROM "python s" LIMIT 3', epoch=epoch).raw)
    see("post", lambda: text.query('SELECT mean(f) FROM "python n"', method="POST").raw)
    everything = 'SELECT * FROM "python gzip"'
    see("chunks", lambda: [chunk.raw for chunk in text.query(everything, chunked=True, chunk_size=90)])
    see("two statements", lambda: [r.raw for r in text.query("SELECT f FROM \"python h\" LIMIT 1; SHOW TAG KEYS")])
    see("bad statement", lambda: packed.query("SELEC"))
    see("no database", lambda: text.query("SELECT f FROM m", database="nowhere").raw)
    see("bad line", lambda: text.write_points(["no fields"], protocol="line"))
    see("database not found", lambda: text.write_points(["m v=1"], database="nowhere", protocol="line"))
    see("policy not found", lambda: text.write_points(["m v=1"], retention_policy="nowhere", protocol="line"))
    # Of a series that is there: even a refused point makes a new one.
    line = 'python\\ s,host=h\\,0,pl\\ ace=M\u00fcnchen\\=\u00e9 i="text" 1699999200000000000'
    see("type conflict", lambda: text.write_points([line], protocol="line"))
    see("bad credentials are not asked for", client(username="a", password="b").ping)


write() if action == "write" else look()
