// The 2.x client for Node: node2.js write|look HOST:PORT BUCKET COUNT TOKEN
//
// What it writes stands in tests/it/clients.rs, point by point. What it sees is printed, so that it can be compared.
"use strict";
const path = require("node:path");
const modules = path.join(process.env.TWINLINE_CLIENT_MODULES, "@influxdata");
const { InfluxDB, Point, flux, fluxInteger, HttpError } = require(path.join(modules, "influxdb-client"));
const apis = require(path.join(modules, "influxdb-client-apis"));

const [action, address, bucket, counted, token] = process.argv.slice(2);
const count = Number(counted);
const org = "o";
const BEGIN_S = 1699999200;
const UNITS = { ns: 1n, us: 1000n, ms: 1000000n, s: 1000000000n };

const client = (more) => new InfluxDB({ url: `http://${address}`, token, ...more });

const point = (measurement, unit, at, again) =>
  new Point(measurement)
    .tag("host", `h,${at % 5}`)
    .tag("pl ace", "M\u00fcnchen=\u00e9")
    .floatField("f", at / 8)
    .intField("i", again ? -at : at - 50)
    .booleanField("b", at % 2 === 0)
    .stringField("s", `say "${at}" \\ \u00e9`)
    .uintField("u", String(0xffffffffffffffffn - BigInt(at)))
    .timestamp(String((BigInt(BEGIN_S) * 1000000000n) / UNITS[unit] + BigInt(at)));

// All of them, and every tenth again with another integer.
const points = (measurement, unit) => {
  const all = [...Array(count).keys()];
  return [
    all.map((at) => point(measurement, unit, at, false)),
    all.filter((at) => at % 10 === 0).map((at) => point(measurement, unit, at, true)),
  ];
};

// Writes a part and waits until all of it was written: the end of the API does not wait for batches on their way. The client counts
// a batch as written when it hears 204 and nothing else.
const send = (part, precision, options) =>
  new Promise((resolve, reject) => {
    let written = 0;
    const api = client().getWriteApi(org, bucket, precision, {
      maxRetries: 0,
      ...options,
      writeFailed: reject,
      writeSuccess: (lines) => {
        written += lines.length;
        if (written === part.length) resolve();
      },
    });
    api.writePoints(part);
    api.close().catch(reject);
  });

async function write() {
  for (const precision of Object.keys(UNITS)) {
    for (const part of points(`node2 ${precision}`, precision)) {
      await send(part, precision, { batchSize: 70 });
    }
  }
  for (const part of points("node2 gzip", "ms")) {
    // The last batch of each part stays under the threshold.
    await send(part, "ms", { batchSize: 99, gzipThreshold: 1000, consistency: "all" });
  }
  for (const part of points("node2 bytes", "us")) {
    await send(part, "us", { maxBatchBytes: 4000, flushInterval: 5, headers: { "X-Of-The-User": "kept" } });
  }
}

// What one request says and another does not.
const OWN = ["date", "x-request-id"];

async function see(what, call) {
  try {
    console.log(what, JSON.stringify(await call()));
  } catch (error) {
    if (!(error instanceof HttpError)) throw error;
    const heads = Object.entries(error.headers || {}).filter(([name]) => !OWN.includes(name));
    console.log(what, "raises", error.statusCode, error.statusMessage, error.code, error.body, JSON.stringify(heads.sort()));
  }
}

const select = (measurement) =>
  flux`from(bucket: ${bucket}) |> range(start: ${fluxInteger(BEGIN_S)}, stop: ${fluxInteger(BEGIN_S + 1e6)})
    |> filter(fn: (r) => r._measurement == ${measurement} and r.host == "h,3")`;

async function makeAndRemove(influx) {
  const buckets = new apis.BucketsAPI(influx);
  const { orgs } = await new apis.OrgsAPI(influx).getOrgs({ org });
  const made = await buckets.postBuckets({ body: { orgID: orgs[0].id, name: `${bucket}_made`, retentionRules: [] } });
  await buckets.deleteBucketsID({ bucketID: made.id });
  return [made.name, orgs[0].name];
}

const oneWrite = (influx, line, into = bucket, of = org) => {
  const api = influx.getWriteApi(of, into, "ns", { maxRetries: 0, writeFailed: (error) => Promise.reject(error) });
  api.writeRecord(line);
  return api.flush().finally(() => api.close().catch(() => {}));
};

async function look() {
  const influx = client();
  const query = influx.getQueryApi(org);
  await see("ping", async () => Object.keys(await new apis.PingAPI(influx).getPing({}, { headers: {} }) || {}));
  await see("health", () => new apis.HealthAPI(influx).getHealth());
  await see("setup", () => new apis.SetupAPI(influx).getSetup());
  await see("bucket", () => new apis.BucketsAPI(influx).getBuckets({ org, name: bucket }));
  await see("buckets", () => makeAndRemove(influx));
  await see("rows", () => query.collectRows(flux`${select("node2 ms")} |> limit(n: 3)`));
  await see("lines", () => query.collectLines(select("node2 gzip")));
  await see("raw", () => query.queryRaw(select("node2 ns")));
  await see("no gzip", () => query.with({ gzip: false }).queryRaw(flux`${select("node2 bytes")} |> count()`));
  const rows = [];
  for await (const { values } of query.iterateRows(flux`${select("node2 us")} |> last()`)) rows.push(values);
  console.log("iterated", JSON.stringify(rows));
  await see("bad flux", () => query.queryRaw("from("));
  await see("no bucket", () => query.queryRaw('from(bucket: "nowhere") |> range(start: 0)'));
  await see("stranger", () => client({ token: "wrong" }).getQueryApi(org).queryRaw("buckets()"));
  await see("bad line", () => oneWrite(influx, "no fields"));
  await see("bucket not found", () => oneWrite(influx, "m v=1", "nowhere"));
  await see("organization not found", () => oneWrite(influx, "m v=1", bucket, "nowhere"));
  await see("stranger writes", () => oneWrite(client({ token: "wrong" }), "m v=1"));
  const conflict = point("node2 ns", "ns", 0, false).toLineProtocol().replace("i=-50i", 'i="text"');
  await see("type conflict", () => oneWrite(influx, conflict));
  const body = { start: new Date(BEGIN_S * 1000).toISOString(), stop: new Date((BEGIN_S + 1e6) * 1000).toISOString() };
  await see("delete", () =>
    new apis.DeleteAPI(influx).postDelete({ org, bucket, body: { ...body, predicate: '_measurement="node2 s"' } }));
  await see("deleted", () => query.queryRaw(select("node2 s")));
}

(action === "write" ? write() : look()).catch((error) => {
  console.error(error);
  process.exit(1);
});
