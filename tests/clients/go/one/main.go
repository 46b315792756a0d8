// Writes and looks with the 1.x client: go1 write|look HOST:PORT DATABASE COUNT TOKEN
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	client "github.com/influxdata/influxdb1-client/v2"

	"clients/points"
)

var args = points.Arguments()

// The client says "us" for microseconds, which InfluxDB 1.13 refuses: see look.
var units = []struct {
	name string
	unit time.Duration
}{{"ns", 1}, {"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}}

func connect(encoding client.ContentEncoding) client.Client {
	influx, err := client.NewHTTPClient(client.HTTPConfig{Addr: "http://" + args.Address, WriteEncoding: encoding})
	points.Must(err)
	return influx
}

func batch(measurement string, config client.BatchPointsConfig, all []points.Point) client.BatchPoints {
	if config.Database == "" {
		config.Database = args.Name
	}
	batch, err := client.NewBatchPoints(config)
	points.Must(err)
	for _, point := range all {
		made, err := client.NewPoint(measurement, point.Tags, point.Fields, point.Time)
		points.Must(err)
		batch.AddPoint(made)
	}
	return batch
}

func write() {
	plain, zipped := connect(client.DefaultEncoding), connect(client.GzipEncoding)
	// It is there already: creating it again changes nothing.
	answer, err := plain.Query(client.NewQuery("CREATE DATABASE "+args.Name, "", ""))
	points.Must(err)
	points.Must(answer.Error())
	for _, unit := range units {
		for _, all := range points.All(args.Count, unit.unit, false) {
			config := client.BatchPointsConfig{Precision: unit.name}
			points.Must(plain.Write(batch("go1 "+unit.name, config, all[:50])))
			config = client.BatchPointsConfig{Precision: unit.name, RetentionPolicy: "autogen", WriteConsistency: "all"}
			points.Must(plain.Write(batch("go1 "+unit.name, config, all[50:])))
		}
	}
	for _, all := range points.All(args.Count, time.Microsecond, false) {
		points.Must(zipped.Write(batch("go1 gzip", client.BatchPointsConfig{}, all)))
	}
}

func see(what string, value interface{}, err error) {
	if err != nil {
		fmt.Printf("%s raises %T %v\n", what, err, err)
		return
	}
	text, err := json.Marshal(value)
	points.Must(err)
	fmt.Printf("%s %s\n", what, text)
}

func look() {
	influx := connect(client.DefaultEncoding)
	_, version, err := influx.Ping(time.Second * 30)
	see("ping", version, err)
	ask := func(what string, query client.Query) {
		answer, err := influx.Query(query)
		if err == nil {
			err = answer.Error()
		}
		see(what, answer, err)
	}
	ask("measurements", client.NewQuery("SHOW MEASUREMENTS", args.Name, ""))
	for _, unit := range units {
		ask("epoch "+unit.name, client.NewQuery(`SELECT * FROM "go1 s" LIMIT 3`, args.Name, unit.name))
	}
	parameters := map[string]interface{}{"host": "h,3"}
	ask("parameters", client.NewQueryWithParameters(`SELECT * FROM "go1 ms" WHERE host = $host`, args.Name, "", parameters))
	ask("policy", client.NewQueryWithRP(`SELECT count(f) FROM "go1 gzip"`, args.Name, "autogen", "ns"))
	ask("two", client.NewQuery(`SELECT last(f) FROM "go1 ns"; SHOW FIELD KEYS FROM "go1 ns"`, args.Name, ""))
	everything := client.Query{Command: `SELECT * FROM "go1 gzip"`, Database: args.Name, Chunked: true, ChunkSize: 70}
	ask("chunks, put together", everything)
	chunks, err := influx.QueryAsChunk(everything)
	points.Must(err)
	for {
		chunk, err := chunks.NextResponse()
		if err == io.EOF {
			break
		}
		see("chunk", chunk, err)
	}
	points.Must(chunks.Close())
	ask("bad statement", client.NewQuery("SELEC", args.Name, ""))
	ask("no database", client.NewQuery("SELECT f FROM m", "nowhere", ""))
	one := points.All(1, 1, false)[0]
	try := func(what, measurement string, config client.BatchPointsConfig) {
		see(what, "written", influx.Write(batch(measurement, config, one)))
	}
	try("microseconds", "never", client.BatchPointsConfig{Precision: "us"})
	try("database not found", "never", client.BatchPointsConfig{Database: "nowhere"})
	try("policy not found", "never", client.BatchPointsConfig{RetentionPolicy: "nowhere"})
	one[0].Fields["i"] = "text"
	try("type conflict", "go1 ns", client.BatchPointsConfig{})
}

func main() {
	if args.Action == "write" {
		write()
	} else {
		look()
	}
}
