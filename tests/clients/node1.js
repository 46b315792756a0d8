// The 1.x client for Node: node1.js write|look|login HOST:PORT DATABASE COUNT
//
// It writes measurements as they are, so a space in one would be its own fault.
// What it writes stands in tests/it/clients.rs, point by point. What it sees is printed, so that it can be compared.
"use strict";
const path = require("node:path");
const Influx = require(path.join(process.env.TWINLINE_CLIENT_MODULES, "influx"));

const [action, address, database, counted] = process.argv.slice(2);
const [host, port] = address.split(":");
const count = Number(counted);
const BEGIN_NS = 1699999200n * 1000000000n;
const UNITS = { n: 1n, u: 1000n, ms: 1000000n, s: 1000000000n, m: 60000000000n, h: 3600000000000n };

const { FLOAT, INTEGER, BOOLEAN, STRING } = Influx.FieldType;
const fields = { f: FLOAT, i: INTEGER, b: BOOLEAN, s: STRING };
const schemaOf = (measurement) => ({ database, measurement, fields, tags: ["host", "pl ace"] });
const measurements = [...Object.keys(UNITS), "single"].map((way) => `node_${way}`);

// As an application of its users sets it up; user and password are root unless somebody says otherwise.
const client = (more) => new Influx.InfluxDB({ host, port: Number(port), database, schema: measurements.map(schemaOf), ...more });

const point = (measurement, precision, at, again) => ({
  measurement,
  tags: { host: `h,${at % 5}`, "pl ace": "M\u00fcnchen=\u00e9" },
  fields: { f: at / 8, i: again ? -at : at - 50, b: at % 2 === 0, s: `say "${at}" \\ \u00e9` },
  timestamp: String(BEGIN_NS / UNITS[precision] + BigInt(at)),
});

// All of them, and every tenth again with another integer.
const points = (measurement, precision) => {
  const all = [...Array(count).keys()];
  return [
    all.map((at) => point(measurement, precision, at, false)),
    all.filter((at) => at % 10 === 0).map((at) => point(measurement, precision, at, true)),
  ];
};

async function write() {
  const influx = client();
  // It is there already: creating it again changes nothing.
  await influx.createDatabase(database);
  for (const precision of Object.keys(UNITS)) {
    for (const part of points(`node_${precision}`, precision)) {
      await influx.writePoints(part.slice(0, 90), { precision });
      await influx.writePoints(part.slice(90), { precision, retentionPolicy: "autogen" });
    }
  }
  // Many at once, and without a measurement of their own; a Date becomes nanoseconds.
  for (const part of points("node_single", "ms")) {
    const dated = part.map((p) => ({ ...p, measurement: undefined, timestamp: new Date(Number(p.timestamp)) }));
    const writes = [];
    for (let begin = 0; begin < dated.length; begin += 40) {
      const group = dated.slice(begin, begin + 40).map(({ measurement, ...rest }) => rest);
      writes.push(influx.writeMeasurement("node_single", group));
    }
    await Promise.all(writes);
  }
}

async function see(what, call) {
  try {
    console.log(what, JSON.stringify(await call()));
  } catch (error) {
    console.log(what, "raises", error.constructor.name, error.message, error.res && error.res.statusCode);
  }
}

async function look() {
  const influx = client();
  const hosts = (await influx.ping(5000)).map(({ online, version }) => [online, version]);
  console.log("ping", JSON.stringify(hosts));
  await see("databases", async () => (await influx.getDatabaseNames()).filter((name) => name === database));
  await see("measurements", () => influx.getMeasurements());
  await see("series", () => influx.getSeries({ measurement: "node_s" }));
  await see("policies", () => influx.showRetentionPolicies());
  await see("shards", () => influx.showShards(database));
  await see("query", () => influx.query(`select * from "node_ms" where host = 'h,3' limit 20`));
  for (const precision of Object.keys(UNITS)) {
    await see(`epoch ${precision}`, () => influx.query(`select f from "node_s" limit 3`, { precision }));
  }
  await see("placeholders", () =>
    influx.query(`select sum(i) from "node_n" where host = $host group by "pl ace"`, { placeholders: { host: "h,3" } }));
  await see("raw", () => influx.queryRaw(`select * from "node_single" limit 5`, { precision: "ms", method: "POST" }));
  await see("two", () => influx.query([`select last(f) from "node_u"`, `show field keys from "node_u"`]));
  await see("policy", () => influx.query("select count(f) from /node/", { retentionPolicy: "autogen" }));
  await see("bad statement", () => influx.query("selec"));
  await see("no database", () => influx.query("select f from m", { database: "nowhere" }));
  const outside = { measurement: "m", fields: { v: 1 } };
  await see("database not found", () => influx.writePoints([outside], { database: "nowhere" }));
  await see("type conflict", () => {
    const wrong = point("node_s", "n", 0, false);
    return new Influx.InfluxDB({ host, port: Number(port), database }).writePoints([{ ...wrong, fields: { i: "text" } }]);
  });
  // The client takes a host out for a while after a 5xx: one of its own for the last one.
  await see("policy not found", () => client().writePoints([outside], { retentionPolicy: "nowhere" }));
  await see("and then", () => influx.query("show tag keys limit 1"));
}

// Its own default user may write; another password is refused.
async function login() {
  await client().createDatabase(database);
  for (const part of points("node_s", "s")) {
    await client().writePoints(part, { precision: "s" });
  }
  const counted = await client().query(`select count(*) from "node_s"`);
  console.log("counted", counted[0].count_i);
  await see("wrong password", () => client({ password: "wrong" }).writePoints(points("node_s", "s")[1], { precision: "s" }));
  await see("wrong password", () => client({ password: "wrong" }).query("show databases"));
}

({ write, look, login })[action]().catch((error) => {
  console.error(error);
  process.exit(1);
});
