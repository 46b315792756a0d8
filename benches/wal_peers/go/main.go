// Appends to the logs and queues that peers of the proxy use, with goroutines as writers, and prints one JSON object for each
// queue, size and number of writers.
//
// tidwall/wal syncs each write; its batches are tried as well: one goroutine writes what waits together, which its users must do
// for themselves. InfluxDB's durablequeue syncs each append. VictoriaMetrics' persistentqueue never syncs before it
// returns: its rows say "synced": false.
//
// Usage: wal-peers DIR SECONDS WRITERS,… BYTES,…
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/VictoriaMetrics/VictoriaMetrics/lib/persistentqueue"
	"github.com/influxdata/influxdb/v2/pkg/durablequeue"
	"github.com/tidwall/wal"
)

// A queue takes a record and returns once it has done what it promises.
type queue struct {
	add   func(body []byte)
	close func()
}

type peer struct {
	name   string
	synced bool
	open   func(dir string) queue
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func single(dir string) queue {
	log, err := wal.Open(filepath.Join(dir, "wal"), nil)
	must(err)
	var lock sync.Mutex
	var last uint64
	return queue{func(body []byte) {
		lock.Lock()
		defer lock.Unlock()
		last++
		must(log.Write(last, body))
	}, func() { must(log.Close()) }}
}

type waiting struct {
	body []byte
	done chan struct{}
}

func batched(dir string) queue {
	log, err := wal.Open(filepath.Join(dir, "wal"), nil)
	must(err)
	inbox := make(chan waiting, 1024)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var last uint64
		for first := range inbox {
			var batch wal.Batch
			told := []waiting{first}
			bytes := len(first.body)
			for more := true; more && bytes < 1<<20; {
				select {
				case next, open := <-inbox:
					if more = open; open {
						told = append(told, next)
						bytes += len(next.body)
					}
				default:
					more = false
				}
			}
			for _, one := range told {
				last++
				batch.Write(last, one.body)
			}
			must(log.WriteBatch(&batch))
			for _, one := range told {
				close(one.done)
			}
		}
		must(log.Close())
	}()
	return queue{func(body []byte) {
		done := make(chan struct{})
		inbox <- waiting{body, done}
		<-done
	}, func() { close(inbox); <-ended }}
}

func durable(dir string) queue {
	var total durablequeue.SharedCount
	log, err := durablequeue.NewQueue(dir, 64<<30, 10<<20, &total, 1024, func([]byte) error { return nil })
	must(err)
	must(log.Open())
	return queue{func(body []byte) { must(log.Append(body)) }, func() { must(log.Close()) }}
}

func persistent(dir string) queue {
	log := persistentqueue.MustOpenFastQueue(dir, "q", 0, 0, false)
	return queue{func(body []byte) {
		if !log.TryWriteBlock(body) {
			panic("refused")
		}
	}, log.MustClose}
}

func measure(peer peer, dir string, writers, size int, span time.Duration) {
	text := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(text)
	log := peer.open(dir)
	began := time.Now()
	waits := make([][]time.Duration, writers)
	var all sync.WaitGroup
	for writer := range writers {
		all.Go(func() {
			for number := 0; time.Since(began) < span; number++ {
				from := ((number*writers + writer) * 4096) % (len(text) - size)
				since := time.Now()
				log.add(text[from : from+size])
				waits[writer] = append(waits[writer], time.Since(since))
			}
		})
	}
	all.Wait()
	took := time.Since(began).Seconds()
	log.close()
	flat := slices.Concat(waits...)
	slices.Sort(flat)
	at := func(share float64) float64 {
		return float64(flat[min(int(float64(len(flat))*share), len(flat)-1)].Nanoseconds()) / 1e3
	}
	row := map[string]any{
		"peer": peer.name, "synced": peer.synced, "writers": writers, "bytes": size,
		"mb_per_s": float64(len(flat)*size) / 1e6 / took, "p50_us": at(0.5), "p99_us": at(0.99),
	}
	line, err := json.Marshal(row)
	must(err)
	fmt.Println(string(line))
}

func numbers(list string) []int {
	var all []int
	for _, text := range strings.Split(list, ",") {
		number, err := strconv.Atoi(text)
		must(err)
		all = append(all, number)
	}
	return all
}

func main() {
	flag.Parse() // persistentqueue wants it done.
	arguments := flag.Args()
	if len(arguments) != 4 {
		fmt.Fprintln(os.Stderr, "usage: wal-peers DIR SECONDS WRITERS,… BYTES,…")
		os.Exit(2)
	}
	seconds, err := strconv.ParseFloat(arguments[1], 64)
	must(err)
	peers := []peer{
		{"tidwall/wal", true, single},
		{"tidwall/wal, batches", true, batched},
		{"influxdb durablequeue", true, durable},
		{"victoriametrics persistentqueue", false, persistent},
	}
	for _, size := range numbers(arguments[3]) {
		for _, writers := range numbers(arguments[2]) {
			for _, peer := range peers {
				dir, err := os.MkdirTemp(arguments[0], "peer-")
				must(err)
				measure(peer, dir, writers, size, time.Duration(seconds*float64(time.Second)))
				must(os.RemoveAll(dir))
			}
		}
	}
}
