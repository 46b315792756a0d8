// Writes and looks with the 2.x client: go2 write|look HOST:PORT BUCKET COUNT TOKEN
//
// A bucket DATABASE/POLICY is one of InfluxDB 1, which knows the 2.x API for writes.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	influxdb2 "github.com/influxdata/influxdb-client-go/v2"
	"github.com/influxdata/influxdb-client-go/v2/api/http"
	"github.com/influxdata/influxdb-client-go/v2/api/write"
	"github.com/influxdata/influxdb-client-go/v2/domain"

	"clients/points"
)

const org = "o"

var (
	args = points.Arguments()
	ctx  = context.Background()
	// InfluxDB 1 knows no unsigned integers.
	isOne = strings.Contains(args.Name, "/")
)

var units = []struct {
	name string
	unit time.Duration
}{{"ns", 1}, {"us", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second}}

func connect(options *influxdb2.Options, token string) influxdb2.Client {
	return influxdb2.NewClientWithOptions("http://"+args.Address, token, options.SetLogLevel(0))
}

func made(measurement string, all []points.Point) []*write.Point {
	var made []*write.Point
	for _, point := range all {
		made = append(made, influxdb2.NewPoint(measurement, point.Tags, point.Fields, point.Time))
	}
	return made
}

// Batches written beside the program; the end of the client waits for them.
func behind(measurement string, options *influxdb2.Options, all []points.Point) {
	influx := connect(options, args.Token)
	api := influx.WriteAPI(org, args.Name)
	failed := make(chan error, 1)
	go func(errors <-chan error) {
		for err := range errors {
			failed <- err
		}
		close(failed)
	}(api.Errors())
	for _, point := range made(measurement, all) {
		api.WritePoint(point)
	}
	api.Flush()
	influx.Close()
	points.Must(<-failed)
}

func writeAll() {
	for _, unit := range units {
		influx := connect(influxdb2.DefaultOptions().SetPrecision(unit.unit), args.Token)
		for _, all := range points.All(args.Count, unit.unit, !isOne) {
			points.Must(influx.WriteAPIBlocking(org, args.Name).WritePoint(ctx, made("go2 "+unit.name, all)...))
		}
		influx.Close()
	}
	for _, all := range points.All(args.Count, time.Microsecond, !isOne) {
		influx := connect(influxdb2.DefaultOptions().SetBatchSize(90).SetUseGZip(true), args.Token)
		api := influx.WriteAPIBlocking(org, args.Name)
		api.EnableBatching()
		for _, point := range made("go2 gathered", all) {
			points.Must(api.WriteRecord(ctx, strings.TrimSpace(write.PointToLineProtocol(point, 1))))
		}
		points.Must(api.Flush(ctx))
		influx.Close()
	}
	for _, all := range points.All(args.Count, time.Millisecond, !isOne) {
		behind("go2 batches", influxdb2.DefaultOptions().SetBatchSize(80).SetPrecision(time.Millisecond), all)
	}
	for _, all := range points.All(args.Count, 1, !isOne) {
		behind("go2 gzip", influxdb2.DefaultOptions().SetBatchSize(110).SetFlushInterval(20).SetUseGZip(true), all)
	}
}

func see(what string, value interface{}, err error) {
	var answer *http.Error
	switch {
	case errors.As(err, &answer):
		var heads []string
		for name, values := range answer.Header {
			if name != "Date" && name != "Request-Id" && name != "X-Request-Id" {
				heads = append(heads, fmt.Sprintf("%s: %s", name, values))
			}
		}
		sort.Strings(heads)
		fmt.Println(what, "raises", answer.StatusCode, answer.Code, answer.Message, answer.Err, answer.RetryAfter, heads)
	case err != nil:
		fmt.Printf("%s raises %T %v\n", what, err, err)
	default:
		text, err := json.Marshal(value)
		points.Must(err)
		fmt.Printf("%s %s\n", what, text)
	}
}

func flux(measurement, then string) string {
	return fmt.Sprintf(`from(bucket: %q) |> range(start: %d, stop: %d) |> filter(fn: (r) => r._measurement == %q and r.host == "h,3") %s`,
		args.Name, points.BeginS, points.BeginS+1000000, measurement, then)
}

func look() {
	influx, stranger := connect(influxdb2.DefaultOptions(), args.Token), connect(influxdb2.DefaultOptions(), "wrong")
	pong, err := influx.Ping(ctx)
	see("ping", pong, err)
	health, err := influx.Health(ctx)
	see("health", health, err)
	if isOne {
		errorsOfWrites(influx, nil)
		return
	}
	ready, err := influx.Ready(ctx)
	points.Must(err)
	see("ready", ready.Status, err)
	bucket, err := influx.BucketsAPI().FindBucketByName(ctx, args.Name)
	see("bucket", bucket, err)
	_, err = influx.BucketsAPI().FindBucketByName(ctx, "nowhere")
	see("no bucket", nil, err)
	found, err := influx.OrganizationsAPI().FindOrganizationByName(ctx, org)
	points.Must(err)
	bucket, err = influx.BucketsAPI().CreateBucketWithNameWithID(ctx, *found.Id, args.Name+"_made",
		domain.RetentionRule{EverySeconds: 7200})
	points.Must(err)
	see("bucket made", bucket.RetentionRules, influx.BucketsAPI().DeleteBucket(ctx, bucket))
	lookAtData(influx, stranger)
	errorsOfWrites(influx, stranger)
	begin := time.Unix(points.BeginS, 0)
	err = influx.DeleteAPI().DeleteWithName(ctx, org, args.Name, begin, begin.Add(time.Hour*200), `_measurement="go2 s"`)
	see("delete", "done", err)
	raw, err := influx.QueryAPI(org).QueryRaw(ctx, flux("go2 s", ""), influxdb2.DefaultDialect())
	see("deleted", raw, err)
}

func lookAtData(influx, stranger influxdb2.Client) {
	query := influx.QueryAPI(org)
	rows, err := query.Query(ctx, flux("go2 ms", "|> limit(n: 4)"))
	points.Must(err)
	for rows.Next() {
		see("row", rows.Record().Values(), nil)
	}
	points.Must(rows.Err())
	for _, measurement := range []string{"go2 ns", "go2 gzip", "go2 gathered"} {
		raw, err := query.QueryRaw(ctx, flux(measurement, ""), influxdb2.DefaultDialect())
		see("raw", raw, err)
	}
	_, err = query.Query(ctx, "from(")
	see("bad flux", nil, err)
	_, err = query.Query(ctx, `from(bucket: "nowhere") |> range(start: 0)`)
	see("query of no bucket", nil, err)
	_, err = stranger.QueryAPI(org).Query(ctx, "buckets()")
	see("stranger", nil, err)
}

func errorsOfWrites(influx, stranger influxdb2.Client) {
	try := func(what string, by influxdb2.Client, of, bucket, line string) {
		see(what, "written", by.WriteAPIBlocking(of, bucket).WriteRecord(ctx, line))
	}
	try("bad line", influx, org, args.Name, "no fields")
	try("bucket not found", influx, org, "nowhere", "m v=1")
	if !isOne {
		try("organization not found", influx, "nowhere", args.Name, "m v=1")
		try("stranger writes", stranger, org, args.Name, "m v=1")
	}
	one := points.All(1, 1, !isOne)[0]
	one[0].Fields["i"] = "text"
	line := write.PointToLineProtocol(made("go2 ns", one)[0], 1)
	try("type conflict", influx, org, args.Name, line)
	// The same in a batch: what this client takes for written in spite of an answer is its own affair.
	own := connect(influxdb2.DefaultOptions(), args.Token)
	api := own.WriteAPI(org, args.Name)
	heard := api.Errors()
	api.WriteRecord(line)
	own.Close()
	see("type conflict in a batch", nil, <-heard)
}

func main() {
	if args.Action == "write" {
		writeAll()
	} else {
		look()
	}
}
