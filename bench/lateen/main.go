// Command lateen is the product's own program, with a probe: benchmarks ask it what its garbage collector knows, and for
// profiles. So what is measured is the size of the product, and not that of a test.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"time"

	"github.com/lateen-mesh/lateen/internal/cli"
)

func main() {
	if err := listen(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1) //nolint:forbidigo // this is main
	}
	os.Exit(cli.Main(context.Background(), os.Args[1:])) //nolint:forbidigo // this is main
}

// listen has the probe answer at the socket that the environment names; without one there is none.
func listen() error {
	path := os.Getenv("LATEEN_BENCH_PROBE")
	if path == "" {
		return nil
	}
	probe, err := net.Listen("unix", path) //nolint:noctx // the process ends with it
	if err != nil {
		return err
	}
	server := &http.Server{Handler: handler(), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(probe) }()
	return nil
}

// handler answers a benchmark.
func handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/size", func(w http.ResponseWriter, _ *http.Request) {
		runtime.GC()
		debug.FreeOSMemory() // collects once more, and hands back what is free
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		_ = json.NewEncoder(w).Encode(map[string]uint64{"heap": m.HeapAlloc, "goroutines": uint64(runtime.NumGoroutine())})
	})
	var profile bytes.Buffer
	mux.HandleFunc("/begin", func(w http.ResponseWriter, _ *http.Request) {
		profile.Reset()
		if err := pprof.StartCPUProfile(&profile); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("/cpu", func(w http.ResponseWriter, _ *http.Request) {
		pprof.StopCPUProfile()
		_, _ = profile.WriteTo(w)
	})
	mux.HandleFunc("/heap", func(w http.ResponseWriter, _ *http.Request) { _ = pprof.WriteHeapProfile(w) })
	return mux
}
