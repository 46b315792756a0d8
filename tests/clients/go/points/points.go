// Package points is what both clients write; it stands in tests/it/clients.rs too.
package points

import (
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

// BeginS is where all times begin.
const BeginS = 1699999200

// Args are those of the program: write|look HOST:PORT NAME COUNT TOKEN.
type Args struct {
	Action, Address, Name, Token string
	Count                        int
}

// Arguments reads them.
func Arguments() Args {
	count, err := strconv.Atoi(os.Args[4])
	Must(err)
	return Args{os.Args[1], os.Args[2], os.Args[3], os.Args[5], count}
}

// Point is one of them.
type Point struct {
	Tags   map[string]string
	Fields map[string]interface{}
	Time   time.Time
}

// All are all points with times in a unit, and every tenth again with another integer.
func All(count int, unit time.Duration, unsigned bool) [2][]Point {
	var all [2][]Point
	for at := 0; at < count; at++ {
		fields := map[string]interface{}{
			"f": float64(at) / 8,
			"i": int64(at - 50),
			"b": at%2 == 0,
			"s": fmt.Sprintf("say \"%d\" \\ \u00e9", at),
		}
		if unsigned {
			fields["u"] = math.MaxUint64 - uint64(at)
		}
		tags := map[string]string{"host": fmt.Sprintf("h,%d", at%5), "pl ace": "M\u00fcnchen=\u00e9"}
		point := Point{tags, fields, time.Unix(BeginS, 0).Add(time.Duration(at) * unit)}
		all[0] = append(all[0], point)
		if at%10 == 0 {
			again := map[string]interface{}{}
			for name, value := range fields {
				again[name] = value
			}
			again["i"] = int64(-at)
			point.Fields = again
			all[1] = append(all[1], point)
		}
	}
	return all
}

// Must ends the program at an error.
func Must(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%T: %v\n", err, err)
		os.Exit(1)
	}
}
