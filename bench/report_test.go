package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// column is one column of a table: what stands above it, and the value as text.
type column struct {
	title string
	text  func(row) string
}

// value shows one value with so many digits behind the point.
func value(title, name string, digits int) column {
	return column{title, func(r row) string { return fmt.Sprintf("%.*f", digits, r[name]) }}
}

var size4 = []column{
	value("proxies", "proxies", 0), value("services", "services", 0),
	{"hosts each", func(r row) string { return fmt.Sprintf("%.0f", min(r["uses"], r["services"])) }},
	{"over", func(r row) string {
		if r["secure"] > 0 {
			return "TLS"
		}
		return "socket"
	}},
}

// table is one table: what stands above it, and its columns beside those of the size.
type table struct {
	title   string
	columns []column
}

var scaleTables = []table{
	{"All at once: ms until all are in sync (CPU ms), resources resent", []column{
		value("cold, first", "cold-first-ms", 0), value("cold, last", "cold-last-ms", 0), value("CPU", "cold-cpu-ms", 0),
		value("reconnect", "reconnect-ms", 0), value("CPU", "reconnect-cpu-ms", 0), value("resent", "reconnect-resources", 0),
		value("restart", "restart-ms", 0), value("CPU", "restart-cpu-ms", 0), value("resent", "restart-resources", 0),
	}},
	{"One change: ms until the first and the last subscriber has it (CPU ms of the server), messages", []column{
		value("endpoint, first p50", "endpoint-first-p50-ms", 1), value("last p50", "endpoint-last-p50-ms", 1),
		value("last p99", "endpoint-last-p99-ms", 1), value("CPU", "endpoint-cpu-ms", 1), value("messages", "endpoint-messages", 0),
		value("route, first p50", "route-first-p50-ms", 1), value("last p50", "route-last-p50-ms", 1),
		value("last p99", "route-last-p99-ms", 1), value("CPU", "route-cpu-ms", 1), value("messages", "route-messages", 0),
		value("new service p50", "new-service-p50-ms", 1), value("p99", "new-service-p99-ms", 1),
	}},
	{"200 endpoint changes in as many calls, and doing nothing", []column{
		value("all told, ms", "burst-told-ms", 0), value("in force, ms", "burst-ms", 0), value("CPU ms", "burst-cpu-ms", 0),
		value("snapshots", "burst-snapshots", 0), value("messages", "burst-messages", 0), value("idle CPU %", "idle-cpu-%", 2),
	}},
	{"All ports from PERMISSIVE to MUTUAL_TLS, until it is over", []column{
		value("ms", "policy-ms", 0), value("CPU ms", "policy-cpu-ms", 0), value("messages", "policy-messages", 0),
		value("resources", "policy-resources", 0),
	}},
	{"Size", []column{
		value("peak of the cold start, MiB", "peak-MiB", 0), value("settled, MiB", "settled-MiB", 0), value("heap, MiB", "heap-MiB", 0),
		value("highest of all, MiB", "highest-MiB", 0),
		value("kB per proxy", "kB/proxy", 1), value("resources per proxy", "resources/proxy", 0), value("messages per proxy", "messages/proxy", 1),
	}},
}

// tables returns tables for the README, each with columns for the size of the mesh.
func tables(all []table, size []column, rows []row) string {
	var text strings.Builder
	for _, t := range all {
		fmt.Fprintf(&text, "\n%s\n\n", t.title)
		columns := append(append([]column{}, size...), t.columns...)
		line := func(cell func(column) string) {
			for _, c := range columns {
				text.WriteString("| " + cell(c) + " ")
			}
			text.WriteString("|\n")
		}
		line(func(c column) string { return c.title })
		line(func(column) string { return "---" })
		for _, r := range rows {
			line(func(c column) string { return c.text(r) })
		}
	}
	return text.String()
}

// profiled begins to profile the server where LATEEN_BENCH_PROFILES names a folder, until the returned function is called, which
// writes the profiles there.
func (s *server) profiled(name string) (stop func()) {
	s.tb.Helper()
	folder := os.Getenv("LATEEN_BENCH_PROFILES")
	if folder == "" {
		return func() {}
	}
	s.ask("/begin")
	return func() {
		s.tb.Helper()
		for _, kind := range []string{"cpu", "heap"} {
			if err := os.WriteFile(filepath.Join(folder, name+"-"+kind), s.ask("/"+kind), 0o600); err != nil {
				s.tb.Fatal(err)
			}
		}
	}
}
