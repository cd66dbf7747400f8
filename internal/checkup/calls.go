package checkup

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

const (
	accessLog = "access.log" // in the folder of a proxy
	maxLog    = 4 << 20      // bytes of it that are read, from its end
	maxLine   = 64 << 10
)

// call is what a line of an access log says of a connection or a request that has proven no identity.
type call struct {
	Time        time.Time `json:"time"`
	Source      string    `json:"source"`
	Destination mesh.Host `json:"destination"`
	Rule        string    `json:"rule"`
	Details     string    `json:"details"`
	TLS         *string   `json:"tls"`
	Code        int       `json:"code"`
}

// counts is what an Envoy has counted since it started, by the port on which it listens.
type counts struct {
	plain, plainNow                      map[int]int // connections that proved nothing and were taken; those of them that are open
	notProven, notTrusted, anotherOrigin map[int]int // connections that were turned away
}

// lookAtCalls reads who called without proving who it is.
func (s *seen) lookAtCalls(ctx context.Context, after time.Time) {
	if !s.here || s.Type != mesh.Sidecar {
		return
	}
	if !s.silent && len(s.Serves) > 0 {
		if page, err := dump.Socket(filepath.Join(s.dir, "admin.sock")).Get(ctx, statistics); err == nil {
			s.counts = readCounts(page, s.Address)
		}
	}
	before, _ := readLog(filepath.Join(s.dir, accessLog+".1"), after) // what the agent has set aside, if it has
	now, err := readLog(filepath.Join(s.dir, accessLog), after)
	s.log, s.noLog = append(before, now...), errors.Is(err, fs.ErrNotExist)
}

// statistics asks for those that are read, and no others.
const statistics = `/stats?filter=` + `%5E(http%7Ctcp)%5C.inbound%5C%7C%5B0-9%5D%2B%5C%7C(plain%7Ctls)%5C.downstream_cx_(total%7Cactive)%24` +
	`%7C%5Elisteners%3F%5C..*%5C.(no_filter_chain_match%7Cssl%5C.connection_error)%24%7C%5Elateen%5C.inbound%5C%7C%5B0-9%5D%2B%5C.rbac%5C.denied%24`

// readCounts reads lines of "NAME: NUMBER".
func readCounts(page []byte, address string) counts {
	c := counts{map[int]int{}, map[int]int{}, map[int]int{}, map[int]int{}, map[int]int{}}
	for line := range bytes.Lines(page) {
		name, text, ok := strings.Cut(strings.TrimSpace(string(line)), ": ")
		value, err := strconv.Atoi(text)
		if !ok || err != nil {
			continue
		}
		if rest, ok := strings.CutPrefix(name, "listener."+address+"_"); ok {
			port, rest, _ := strings.Cut(rest, ".")
			add(map[string]map[int]int{"no_filter_chain_match": c.notProven, "ssl.connection_error": c.notTrusted}[rest], port, value)
			continue
		}
		_, rest, _ := strings.Cut(name, ".")
		rest, _ = strings.CutPrefix(rest, "inbound|")
		where, what, _ := strings.Cut(rest, ".")
		port, _, _ := strings.Cut(where, "|")
		add(map[string]map[int]int{
			"downstream_cx_total": c.plain, "downstream_cx_active": c.plainNow, "rbac.denied": c.anotherOrigin,
		}[what], port, value)
	}
	return c
}

func add(to map[int]int, port string, value int) {
	if number, err := strconv.Atoi(port); err == nil && to != nil {
		to[number] += value
	}
}

// readLog reads the lines of an access log that tell of who has proven nothing, from some time on. Lines that are too long are
// passed over: who calls chooses how long they are.
func readLog(path string, after time.Time) ([]call, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	if _, err := file.Seek(max(0, size-maxLog), io.SeekStart); err != nil {
		return nil, err
	}
	var calls []call
	lines := bufio.NewReaderSize(io.LimitReader(file, maxLog), maxLine)
	for whole := true; ; {
		line, more, err := lines.ReadLine()
		if err != nil {
			return calls, nil // its end
		}
		if whole && !more {
			if c, ok := readCall(line); ok && c.Time.After(after) {
				calls = append(calls, c)
			}
		}
		whole = !more
	}
}

// readCall reads a line if it tells of a caller that has proven nothing. Few do.
func readCall(line []byte) (c call, ok bool) {
	if !bytes.Contains(line, []byte(`"tls":null`)) && !bytes.Contains(line, []byte(`"<`)) {
		return c, false
	}
	if err := json.Unmarshal(line, &c); err != nil {
		return c, false
	}
	if _, err := netip.ParseAddr(c.Source); err != nil || c.Destination == "" {
		return c, false
	}
	switch c.Rule {
	case inbound:
		return c, c.TLS == nil
	case plan.NotProven, plan.NotTrusted, plan.AnotherAddress:
		return c, true
	default:
		return c, false
	}
}

// inbound is the rule of what was let in.
const inbound = "inbound"
