// Times the line-protocol parsers of other projects, on one core, and prints one JSON object for each parser and file:
// bytes per second (median of the rounds), and how many lines of the file it accepts.
//
// Each does what its own server does with a body before it stores anything: VictoriaMetrics decodes values; Telegraf's machine
// hands out parts to a handler that does nothing; the models of InfluxDB make points with decoded times. Telegraf is 1.20: in 1.37
// the package of the parser brings in most of the program.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	victoria "github.com/VictoriaMetrics/VictoriaMetrics/lib/protoparser/influx"
	models1 "github.com/influxdata/influxdb/models"
	models2 "github.com/influxdata/influxdb/v2/models"
	telegraf "github.com/influxdata/telegraf/plugins/parsers/influx"
)

// A parser returns how many lines it accepted.
type parser struct {
	name  string
	parse func(body []byte) int
}

type nothing struct{}

func (nothing) SetMeasurement([]byte) error { return nil }
func (nothing) AddTag(_, _ []byte) error    { return nil }
func (nothing) AddInt(_, _ []byte) error    { return nil }
func (nothing) AddUint(_, _ []byte) error   { return nil }
func (nothing) AddFloat(_, _ []byte) error  { return nil }
func (nothing) AddString(_, _ []byte) error { return nil }
func (nothing) AddBool(_, _ []byte) error   { return nil }
func (nothing) SetTimestamp([]byte) error   { return nil }

func parsers() []parser {
	var rows victoria.Rows
	machine := telegraf.NewMachine(nothing{})
	return []parser{
		{"victoriametrics", func(body []byte) int {
			// It wants a string. The copy is part of the time, as small as it is: a server has bytes too.
			if err := rows.Unmarshal(string(body), false); err != nil {
				return 0
			}
			return len(rows.Rows)
		}},
		{"telegraf", func(body []byte) int {
			machine.SetData(body)
			lines := 0
			for {
				err := machine.Next()
				if errors.Is(err, telegraf.EOF) {
					return lines
				}
				if err == nil {
					lines++
				}
			}
		}},
		{"influxdb-1-models", func(body []byte) int {
			points, _ := models1.ParsePoints(body)
			return len(points)
		}},
		{"influxdb-2-models", func(body []byte) int {
			points, _ := models2.ParsePoints(body)
			return len(points)
		}},
	}
}

func rate(body []byte, parse func([]byte) int, round time.Duration, rounds int) (float64, int) {
	// Once to warm up; a lazy look at fields or tags is not asked for.
	lines := parse(body)
	speeds := make([]float64, 0, rounds)
	for range rounds {
		runtime.GC()
		began, bytes := time.Now(), 0
		for time.Since(began) < round {
			parse(body)
			bytes += len(body)
		}
		speeds = append(speeds, float64(bytes)/time.Since(began).Seconds())
	}
	slices.Sort(speeds)
	return speeds[rounds/2], lines
}

func main() {
	round := flag.Duration("round", 300*time.Millisecond, "how long a round lasts")
	rounds := flag.Int("rounds", 5, "rounds for each parser and file")
	flag.Parse()
	runtime.GOMAXPROCS(1)
	for _, path := range flag.Args() {
		body, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		corpus := strings.TrimSuffix(filepath.Base(path), ".lp")
		for _, parser := range parsers() {
			speed, lines := rate(body, parser.parse, *round, *rounds)
			row := map[string]any{"corpus": corpus, "parser": parser.name, "bytes_per_s": speed, "lines": lines}
			text, err := json.Marshal(row)
			if err != nil {
				panic(err)
			}
			fmt.Println(string(text))
		}
	}
}
