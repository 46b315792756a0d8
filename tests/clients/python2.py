"""The 2.x client for Python: python2.py write|look HOST:PORT BUCKET COUNT TOKEN

What it writes stands in tests/it/clients.rs, point by point. What it sees is printed, so that it can be compared.
"""

import asyncio
import sys
from datetime import datetime, timezone

from influxdb_client import InfluxDBClient, Point, WriteOptions, WritePrecision
from influxdb_client.client.influxdb_client_async import InfluxDBClientAsync
from influxdb_client.client.write_api import ASYNCHRONOUS, SYNCHRONOUS
from influxdb_client.rest import ApiException

action, address, bucket, count, token = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), sys.argv[5]
BEGIN_S = 1699999200
UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
ORG = "o"


def client(**more):
    more.setdefault("token", token)
    return InfluxDBClient(url="http://" + address, org=ORG, **more)


def point(measurement, precision, at, again=False):
    return (
        Point(measurement)
        .tag("host", "h,%d" % (at % 5))
        .tag("pl ace", "M\u00fcnchen=\u00e9")
        .field("f", at / 8)
        .field("i", -at if again else at - 50)
        .field("b", at % 2 == 0)
        .field("s", 'say "%d" \\ \u00e9' % at)
        .time(BEGIN_S * 10**9 // UNITS[precision] + at, precision)
    )


def points(measurement, precision):
    """All of them, and every tenth again with another integer."""
    first = [point(measurement, precision, at) for at in range(count)]
    return first, [point(measurement, precision, at, True) for at in range(0, count, 10)]



def batching(part, **options):
    refused = []
    options = WriteOptions(batch_size=70, flush_interval=200, jitter_interval=0, **options)
    with client(enable_gzip=True) as db, db.write_api(
        write_options=options, error_callback=lambda _, data, error: refused.append((data, error))
    ) as api:
        for p in part:
            api.write(bucket, record=p)
    if refused:
        sys.exit("a batch was refused: %s" % refused[0][1])


async def write_async():
    async with InfluxDBClientAsync("http://" + address, token, org=ORG, enable_gzip=True) as db:
        for part in points("python2 async", "ns"):
            for begin in range(0, len(part), 150):
                assert await db.write_api().write(bucket, record=part[begin:begin + 150])


def write():
    with client() as db:
        api = db.write_api(write_options=SYNCHRONOUS)
        for precision in UNITS:
            for part in points("python2 sync " + precision, precision):
                # In two requests; each has the precision of its points.
                api.write(bucket, record=part[: count // 3], write_precision=precision)
                api.write(bucket, ORG, part[count // 3 :], write_precision=precision)
        for part in points("python2 lines", "ms"):
            api.write(bucket, record="\n".join(p.to_line_protocol() for p in part), write_precision=WritePrecision.MS)
        for part in points("python2 threads", "ns"):
            api = db.write_api(write_options=ASYNCHRONOUS)
            answers = [api.write(bucket, record=part[begin:begin + 90]) for begin in range(0, len(part), 90)]
            assert all(answer.get() is None for answer in answers)
    with client(enable_gzip=True) as db:
        for part in points("python2 gzip", "us"):
            db.write_api(write_options=SYNCHRONOUS).write(bucket, record=part, write_precision="us")
    for part in points("python2 batching", "ns"):
        batching(part)
    asyncio.run(write_async())


def see(what, call):
    try:
        print(what, repr(call()))
    except ApiException as error:
        heads = sorted((k.lower(), v) for k, v in error.headers.items() if k.lower() != "date")
        print(what, "raises", error.status, error.reason, error.body, heads)


def made_and_removed(db):
    api, name = db.buckets_api(), bucket + "_made"
    made = api.create_bucket(bucket_name=name, org=ORG)
    made.description = "changed"
    changed = api.update_bucket(bucket=made)
    api.delete_bucket(changed)
    return made.name, changed.description, api.find_bucket_by_name(name)


def deleted(db):
    begin, end = (datetime.fromtimestamp(BEGIN_S + s, timezone.utc) for s in (0, 10**6))
    db.delete_api().delete(begin, end, '_measurement="python2 sync s"', bucket, ORG)
    return db.query_api().query_raw(flux("python2 sync s")).data


def flux(measurement, then=""):
    since = 'from(bucket: "%s") |> range(start: %d, stop: %d)' % (bucket, BEGIN_S, BEGIN_S + 10**6)
    return since + ' |> filter(fn: (r) => r._measurement == "%s" and r.host == "h,3") ' % measurement + then


async def look_async():
    async with InfluxDBClientAsync("http://" + address, token, org=ORG) as db:
        print("async ping", await db.ping(), await db.version())
        # The tables come in no order of their own.
        tables = await db.query_api().query(flux("python2 async", '|> group(columns: ["_field"]) |> count()'))
        print("async query", sorted(str(record) for table in tables for record in table.records))


def look():
    with client() as db, client(token="wrong") as stranger:
        see("ping", db.ping)
        see("version", db.version)
        see("build", db.build)
        see("health", lambda: db.health().to_dict())
        see("ready", lambda: db.ready().status)
        see("bucket", lambda: db.buckets_api().find_bucket_by_name(bucket).to_dict())
        see("organizations", lambda: [o.name for o in db.organizations_api().find_organizations(org=ORG)])
        see("buckets", lambda: made_and_removed(db))
        api = db.query_api()
        see("tables", lambda: [str(r) for t in api.query(flux("python2 sync ms", "|> limit(n: 3)")) for r in t.records])
        see("stream", lambda: [str(r.values) for r in api.query_stream(flux("python2 gzip", "|> last()"))])
        see("rows", lambda: list(api.query_csv(flux("python2 batching", "|> count()"))))
        see("bytes", lambda: api.query_raw(flux("python2 lines")).data)
        see("bad flux", lambda: api.query("from("))
        see("no bucket", lambda: api.query('from(bucket: "nowhere") |> range(start: 0)'))
        see("stranger", lambda: stranger.query_api().query("buckets()"))
        writer = db.write_api(write_options=SYNCHRONOUS)
        see("bad line", lambda: writer.write(bucket, record="no fields"))
        see("partly bad", lambda: writer.write(bucket, record="not_stored v=1 17\nno fields"))
        see("bucket not found", lambda: writer.write("nowhere", record="m v=1"))
        see("organization not found", lambda: writer.write(bucket, "nowhere", record="m v=1"))
        see("stranger writes", lambda: stranger.write_api(write_options=SYNCHRONOUS).write(bucket, record="m v=1"))
        # Of a series that is there: even a refused point may make a new one.
        line = point("python2 gzip", "ns", 0).to_line_protocol().replace("i=-50i", 'i="text"')
        see("type conflict", lambda: writer.write(bucket, record=line))
        see("deleted", lambda: deleted(db))
    asyncio.run(look_async())


write() if action == "write" else look()
