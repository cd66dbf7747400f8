package local

import (
	"cmp"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	readyTimeout = time.Minute
	mostReplicas = 100
)

// workload reads what one workload says into w, which has what it inherits from its service.
func (r *reader) workload(path string, w *Workload, s workloadSpec) {
	if len(w.Name)+len("-00") > 63 {
		r.Tell(mesh.Problem{Field: path, Code: config.CodeInvalidName, Message: "the name " + w.Name + " is longer than 60 characters"})
	}
	for key, value := range s.Labels {
		if key == "" || strings.ContainsAny(key+value, ",|=") {
			r.invalid(config.Key(path+".labels", key), "a label has no comma, | or = in it", "")
		}
		w.Labels[key] = value
	}
	w.Replicas = 1
	if s.Replicas != nil {
		w.Replicas = int(*s.Replicas)
		if w.Replicas < 0 || w.Replicas > mostReplicas {
			r.Tell(mesh.Problem{Field: path + ".replicas", Code: config.CodeOutOfRange, Message: "there can be 0 to 100 replicas"})
		}
	}
	switch {
	case len(s.Command) > 0 && s.Address != "":
		r.Tell(mesh.Problem{
			Field: path + ".address", Code: config.CodeConflictingFields,
			Message: "a workload is started by its command, or runs already at its address",
		})
	case s.Address != "":
		r.address(path, w, s)
	case len(s.Command) > 0:
		r.process(path, w, s)
	default:
		r.Missing(path+".command", "a workload needs a command to start it, or the address at which it runs already")
	}
}

// address reads a workload that runs already.
func (r *reader) address(path string, w *Workload, s workloadSpec) {
	for _, field := range []struct {
		name  string
		there bool
	}{
		{"dir", s.Dir != ""},
		{"env", s.Env != nil},
		{"ready", s.Ready != nil},
		{"replicas", s.Replicas != nil},
		{"dependsOn", s.DependsOn != nil},
		{"uses", s.Uses != nil},
		{"proxyless", s.Proxyless},
	} {
		if field.there {
			r.Tell(mesh.Problem{
				Field: path + "." + field.name, Code: config.CodeConflictingFields,
				Message: "this is for a workload that is started here; one with an address runs already",
			})
		}
	}
	text := s.Address
	if port, ok := strings.CutPrefix(text, "localhost:"); ok {
		text = loopback.String() + ":" + port
	}
	var err error
	if w.Runs, err = netip.ParseAddrPort(text); err == nil {
		if len(w.Ports) > 1 {
			r.invalid(path+".address", "the service has several ports: the address must have none", "")
		}
		return
	}
	ip, err := netip.ParseAddr(text)
	if err != nil {
		r.invalid(path+".address", "the address must be an IP address, with or without a port", `write it as "127.0.0.1:3306"`)
	}
	w.Runs = netip.AddrPortFrom(ip, 0)
}

// process reads a workload that is started here.
func (r *reader) process(path string, w *Workload, s workloadSpec) {
	w.Command, w.Env = s.Command, s.Env
	w.Dir = r.file(s.Dir)
	if s.Proxyless {
		w.Type = mesh.Proxyless
	}
	for i, word := range s.Command {
		r.text(w, config.Item(path+".command", i), word)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		at := config.Key(path+".env", name)
		if name == "" || strings.ContainsAny(name, "=\x00") {
			r.invalid(at, "this is no name of an environment variable", "")
		}
		r.text(w, at, s.Env[name])
	}
	if strings.TrimSpace(s.Command[0]) == "" {
		r.invalid(config.Item(path+".command", 0), "the first word of a command is a program", "")
	}
	for i, name := range s.DependsOn {
		at := config.Item(path+".dependsOn", i)
		if !config.IsDomain(name) {
			r.Tell(mesh.Problem{
				Field: at, Code: config.CodeInvalidName, Message: "this is no name of a service", Hint: "write it as NAME, or NAME.NAMESPACE",
			})
			continue
		}
		r.mentions = append(r.mentions, mention{object: r.Object, workload: w, path: at, service: name})
	}
	if s.Uses != nil {
		r.uses(path+".uses", w, s.Uses)
	}
	w.Ready = Ready{Timeout: readyTimeout}
	if s.Ready != nil {
		r.ready(path+".ready", w, s.Ready)
	}
}

func (r *reader) ready(path string, w *Workload, s *readySpec) {
	w.Ready.HTTP = s.HTTP
	if s.HTTP != "" && !strings.HasPrefix(s.HTTP, "/") {
		r.invalid(path+".http", "the path must begin with /", "")
	}
	if s.TCP != nil && *s.TCP == (s.HTTP != "") {
		r.Tell(mesh.Problem{
			Field: path + ".tcp", Code: config.CodeConflictingFields, Message: "readiness is asked over HTTP or over TCP",
			Hint: "without http, an application is ready when it takes connections",
		})
	}
	if s.Timeout != nil {
		w.Ready.Timeout = r.Span(path+".timeout", s.Timeout)
	}
}

// text checks a text with variables, and notes the local addresses among them.
func (r *reader) text(w *Workload, path, text string) {
	known := w.variables(nil)
	if strings.ContainsRune(text, 0) {
		r.invalid(path, "there is a zero byte in it", "")
	}
	_, unknown, open := expand(text, known)
	if open {
		r.invalid(path, "a ${ has no }", "$$ is a dollar")
	}
	for _, name := range unknown {
		if strings.HasPrefix(name, upstreamPrefix) {
			r.mentions = append(r.mentions, mention{object: r.Object, workload: w, path: path, variable: name})
			continue
		}
		p := mesh.Problem{Field: path, Code: CodeUnknownVariable, Message: "there is no variable ${" + name + "}"}
		names := slices.SortedFunc(maps.Keys(known), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b))
		})
		if near := config.Nearest(name, names); near != "" {
			p.Hint = "did you mean ${" + near + "}?"
		} else {
			p.Hint = "there are " + strconv.Itoa(len(names)) + ": " + strings.Join(names, ", ") +
				", and ${UPSTREAM_SERVICE_PORT} for each port of a service; $$ is a dollar"
		}
		r.Tell(p)
	}
}

// CodeUnknownVariable is the code of a problem: a ${…} that has no meaning. It is fixed like those of package config.
const CodeUnknownVariable = "unknown-variable"

// maxUses bounds how many hosts a workload may list.
const maxUses = 256

// uses reads which hosts the workload's proxies are given, and which they are not.
func (r *reader) uses(path string, w *Workload, s *usesSpec) {
	host := func(at, text string) (string, int) {
		name, port, err := net.SplitHostPort(text)
		n, bad := strconv.Atoi(port)
		if err != nil || bad != nil || n < 1 || n > 65535 || !config.IsDomain(strings.ToLower(name)) {
			r.invalid(at, "this is no host with a port", `write it as the workload does: "reviews:9080"`)
			return "", 0
		}
		return name, n
	}
	pinned := map[string]bool{}
	for i, text := range s.Pin {
		at := config.Item(path+".pin", i)
		if name, port := host(at, text); port != 0 {
			pinned[strings.ToLower(text)] = true
			r.mentions = append(r.mentions, mention{object: r.Object, workload: w, path: at, service: name, pinned: port})
		}
	}
	for i, text := range s.Forbid {
		at := config.Item(path+".forbid", i)
		if text != "*" {
			host(at, text)
		}
		if pinned[strings.ToLower(text)] {
			r.Tell(mesh.Problem{
				Field: at, Code: config.CodeConflictingFields, Message: text + " is pinned too",
				Hint: "pin gives it to the proxies, forbid keeps it from being learned: take one of them away",
			})
		}
	}
	if len(s.Pin) > maxUses || len(s.Forbid) > maxUses {
		r.Tell(mesh.Problem{Field: path, Code: config.CodeOutOfRange, Message: "there can be at most 256 hosts in each list"})
	}
	w.Uses = mesh.Uses{Pin: s.Pin, Forbid: s.Forbid}
}
