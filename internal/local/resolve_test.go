package local

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// upstreamTown has services in two namespaces; the workload web-v1 of the first is the one under test.
func upstreamTown(workload string) string {
	return document("  services:\n    web: {ports: [{name: http, port: 80}], workloads: {v1: {command: [web], "+workload+"}}}\n"+
		"    my-db: {ports: [{name: mysql, port: 3306}, {name: http-admin, port: 8080}], workloads: {v1: {command: [db]}}}") +
		"---\n" + strings.Replace(document("  services: {my-db: {ports: [{name: tcp, port: 5432}]}}"), "east", "far-west", 1)
}

// named returns the workload.
func (m *Mesh) named(t *testing.T, name string) *Workload {
	t.Helper()
	for _, w := range m.Workloads {
		if w.Name == name {
			return w
		}
	}
	t.Fatalf("there is no workload %s", name)
	return nil
}

func TestUpstreams(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ workload, want string }{
		"none":              {"env: {}", ""},
		"by number":         {`env: {A: "${UPSTREAM_MY_DB_3306}"}`, "my-db.east:3306"},
		"by name":           {`env: {A: "x${UPSTREAM_MY_DB_HTTP_ADMIN}y"}`, "my-db.east:8080"},
		"a part":            {`env: {A: "${UPSTREAM_MY_DB_MYSQL_HOST} ${UPSTREAM_MY_DB_3306_PORT}"}`, "my-db.east:3306"},
		"another namespace": {`env: {A: "${UPSTREAM_MY_DB_TCP_FAR_WEST}${UPSTREAM_MY_DB_5432_FAR_WEST_HOST}"}`, "my-db.far-west:5432"},
		"its own service":   {`env: {A: "${UPSTREAM_WEB_80}"}`, "web.east:80"},
		"a dependency":      {"dependsOn: [my-db]", "my-db.east:3306 my-db.east:8080"},
		"others":            {"dependsOn: [my-db.far-west, my-db.far-west.svc.cluster.local]", "my-db.far-west:5432"},
		"both":              {`dependsOn: [my-db], env: {A: "${UPSTREAM_MY_DB_3306}", B: "${UPSTREAM_WEB_HTTP}"}`, "my-db.east:3306 my-db.east:8080 web.east:80"},
		"none for a dollar": {`env: {A: "$${UPSTREAM_NOWHERE}"}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, upstreamTown(c.workload))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			var got []string
			for _, u := range m.named(t, "web-v1").Upstreams {
				got = append(got, fmt.Sprintf("%s:%d", strings.TrimSuffix(string(u.Host), ".svc.cluster.local"), u.Port))
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("got %s, want %s", text, c.want)
			}
			if w := m.named(t, "my-db-v1"); len(w.Upstreams) > 0 {
				t.Errorf("another workload has %v", w.Upstreams)
			}
		})
	}
}

// All names of an address are in the environment, and its parts; nothing of services that were not asked for is.
func TestUpstreamVariables(t *testing.T) {
	t.Parallel()
	m, problems := parse(t, upstreamTown(`env: {A: "${UPSTREAM_MY_DB_3306}", B: "${UPSTREAM_MY_DB_TCP_FAR_WEST}"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	i := &Instance{
		Name: "web-v1-0", Workload: m.named(t, "web-v1"), Address: netip.MustParseAddr("127.9.8.7"),
		Ports: map[string]int{"http": 20001}, Outbound: 15001, Upstream: []int{3307, 5433},
	}
	want := map[string]string{"PORT": "20001", "PORT_HTTP": "20001"}
	for name, port := range map[string]string{"MY_DB_3306": "3307", "MY_DB_MYSQL": "3307", "MY_DB_5432_FAR_WEST": "5433", "MY_DB_TCP_FAR_WEST": "5433"} {
		want["UPSTREAM_"+name], want["UPSTREAM_"+name+"_HOST"], want["UPSTREAM_"+name+"_PORT"] = "127.9.8.7:"+port, "127.9.8.7", port
	}
	if diff := cmp.Diff(want, i.variables()); diff != "" {
		t.Error(diff)
	}
	env := environment([]string{"PATH=/bin"}, "/state/bin", "/state/xds.json", i)
	for name, value := range map[string]string{
		"A": "127.9.8.7:3307", "B": "127.9.8.7:5433", "UPSTREAM_MY_DB_MYSQL_PORT": "3307", "NO_PROXY": "localhost,127.0.0.1,::1,127.9.8.7",
	} {
		if got := lookup(env, name); got != value {
			t.Errorf("%s=%s, want %s", name, got, value)
		}
	}
	if diff := cmp.Diff([]mesh.Upstream{
		{Host: "my-db.east.svc.cluster.local", Port: 3306, Listen: 3307}, {Host: "my-db.far-west.svc.cluster.local", Port: 5432, Listen: 5433},
	}, i.MeshWorkload().Upstreams); diff != "" {
		t.Error(diff)
	}
}

// Each local address has a port of its own on the instance's address.
func TestUpstreamPorts(t *testing.T) {
	t.Parallel()
	subnet, err := ClaimSubnet(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer subnet.Close()
	m, problems := parse(t, upstreamTown(`dependsOn: [my-db], env: {A: "${UPSTREAM_WEB_80}"}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	p := newPlaces(subnet)
	i, err := p.give(m.named(t, "web-v1"), 0)
	if err != nil {
		t.Fatal(err)
	}
	defer p.takeBack(i)
	used := map[int]bool{i.Outbound: true, i.Listen["http"]: true}
	for _, port := range i.Upstream {
		if used[port] || port == 0 {
			t.Errorf("port %d twice, or none: %+v", port, i)
		}
		used[port] = true
	}
	if len(i.Upstream) != 3 {
		t.Errorf("ports %v for three addresses", i.Upstream)
	}
}

// What a workload names and is not there is told where it is named, and the rest of the mesh is read.
func TestUnknownServices(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ workload, want, message string }{
		"misspelt service":   {`env: {A: "${UPSTREAM_MYDB_3306}"}`, "6:86 spec.services.web.workloads.v1.env.A unknown-variable", "did you mean ${UPSTREAM_MY_DB_3306}?"},
		"no such port":       {`env: {A: "${UPSTREAM_MY_DB_NO_SUCH_PORT_OF_IT}"}`, "6:86 spec.services.web.workloads.v1.env.A unknown-variable", "there are UPSTREAM_MY_DB_3306, UPSTREAM_MY_DB_5432_FAR_WEST, UPSTREAM_MY_DB_8080,"},
		"nothing like it":    {`env: {A: "${UPSTREAM_}"}`, "6:86 spec.services.web.workloads.v1.env.A unknown-variable", "there are UPSTREAM_MY_DB_3306"},
		"no namespace":       {`env: {A: "${UPSTREAM_MY_DB_5432}"}`, "6:86 spec.services.web.workloads.v1.env.A unknown-variable", "UPSTREAM_MY_DB_"},
		"unknown dependency": {"dependsOn: [my-bd]", "6:89 spec.services.web.workloads.v1.dependsOn[0] unknown-host", `did you mean "my-db"?`},
		"other namespace":    {"dependsOn: [my-db, web.far-west]", "6:96 spec.services.web.workloads.v1.dependsOn[1] unknown-host", "there is no service web.far-west"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, problems := parse(t, upstreamTown(c.workload))
			if got := spelled(problems); m == nil || !slices.Equal(got, []string{c.want}) {
				t.Fatalf("got %q, want %q", got, c.want)
			}
			if text := problems[0].String(); !strings.Contains(text, c.message) {
				t.Errorf("%s lacks %q", text, c.message)
			}
			if !m.named(t, "web-v1").unsound || m.named(t, "my-db-v1").unsound {
				t.Error("the wrong workloads are unsound")
			}
		})
	}
}

// A host that is pinned and that no service has is a warning, unless it may be one outside.
func TestUnknownPins(t *testing.T) {
	t.Parallel()
	for pin, want := range map[string]string{
		"web:80":                                 "",
		"MY-DB:8080":                             "",
		"my-db.far-west:5432":                    "",
		"my-db.far-west.svc.cluster.local:5432":  "",
		"api.example.com:443":                    "",
		"nowhere.com:80":                         "",
		"my-bd:3306":                             `there is no service my-bd: the proxies are given nothing for it [unknown-host]` + "\n  hint: did you mean \"my-db\"?",
		"web.far-west:80":                        "there is no service web.far-west",
		"web.nowhere.svc:80":                     "there is no service web.nowhere.svc",
		"nowhere.far-west.svc.cluster.local:443": "there is no service nowhere.far-west.svc.cluster.local",
		"my-db:5432":                             "service my-db has no port 5432 [unknown-port]\n  hint: ports: 3306 (mysql), 8080 (http-admin)",
		"my-db.far-west:80":                      "service my-db.far-west has no port 80",
	} {
		m, problems := parse(t, upstreamTown(`uses: {pin: ["`+pin+`"]}`))
		if m == nil || m.named(t, "web-v1").unsound {
			t.Fatalf("%s: the workload does not run", pin)
		}
		switch {
		case want == "" && len(problems) == 0:
		case len(problems) != 1 || want == "":
			t.Errorf("%s: %v", pin, problems)
		case problems[0].Severity != mesh.Warning || problems[0].Position.Line != 6 || problems[0].Field != "spec.services.web.workloads.v1.uses.pin[0]" ||
			!strings.Contains(problems[0].String(), want):
			t.Errorf("%s: %s, want %s", pin, problems[0], want)
		}
	}
}

// A name that could mean two ports means none: it is told where it is used, and is in no environment.
func TestAmbiguousVariable(t *testing.T) {
	t.Parallel()
	town := func(workload string) string {
		return document("  services:\n    a: {ports: [{name: b-c, port: 1}, {name: x, port: 2}, {name: x-host, port: 3}]}\n" +
			"    a-b: {ports: [{name: c, port: 1}]}\n    web: {ports: [{name: http, port: 80}], workloads: {v1: {command: [web], " + workload + "}}}")
	}
	for _, name := range []string{"UPSTREAM_A_B_C", "UPSTREAM_A_X_HOST"} {
		m, problems := parse(t, town("env: {A: '${"+name+"}'}"))
		if m == nil || len(problems) != 1 || problems[0].Code != CodeUnknownVariable || !strings.Contains(problems[0].Message, "could mean") {
			t.Errorf("%s: %v", name, problems)
		}
	}
	m, problems := parse(t, town("dependsOn: [a, a-b]"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var names []string
	for _, u := range m.named(t, "web-v1").Upstreams {
		for name, part := range u.Variables {
			if part == wholeAddress {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	if want := []string{"UPSTREAM_A_1", "UPSTREAM_A_2", "UPSTREAM_A_3", "UPSTREAM_A_B_1", "UPSTREAM_A_X"}; !slices.Equal(names, want) {
		t.Errorf("names %v, want %v", names, want)
	}
}

func TestDependsOn(t *testing.T) {
	t.Parallel()
	services := func(depends map[string]string) string {
		text := "  services:\n"
		for _, name := range slices.Sorted(maps.Keys(depends)) {
			text += "    " + name + ": {ports: [{name: http, port: 80}], workloads: {v1: {" + depends[name] + "}}}\n"
		}
		return document(text)
	}
	for name, c := range map[string]struct {
		depends map[string]string
		want    string // the problems
	}{
		"a chain":        {map[string]string{"a": "command: [a], dependsOn: [b]", "b": "command: [b], dependsOn: [c]", "c": "command: [c]"}, ""},
		"a diamond":      {map[string]string{"a": "command: [a], dependsOn: [b, c]", "b": "command: [b], dependsOn: [d]", "c": "command: [c], dependsOn: [d]", "d": "command: [d]"}, ""},
		"twice":          {map[string]string{"a": "command: [a], dependsOn: [b, b.east]", "b": "command: [b]"}, ""},
		"runs already":   {map[string]string{"a": "command: [a], dependsOn: [b]", "b": "address: 127.0.0.1"}, ""},
		"itself":         {map[string]string{"a": "command: [a], dependsOn: [a]"}, "spec.services.a.workloads.v1.dependsOn[0]: the workload would wait for itself: a-v1 → a-v1"},
		"a ring":         {map[string]string{"a": "command: [a], dependsOn: [d, b]", "b": "command: [b], dependsOn: [c]", "c": "command: [c], dependsOn: [a]", "d": "command: [d]"}, "spec.services.a.workloads.v1.dependsOn[1]: the workload would wait for itself: a-v1 → b-v1 → c-v1 → a-v1"},
		"before a ring":  {map[string]string{"a": "command: [a], dependsOn: [b]", "b": "command: [b], dependsOn: [c]", "c": "command: [c], dependsOn: [b]"}, "spec.services.b.workloads.v1.dependsOn[0]: the workload would wait for itself: b-v1 → c-v1 → b-v1"},
		"no name":        {map[string]string{"a": "command: [a], dependsOn: [A_B]"}, "spec.services.a.workloads.v1.dependsOn[0]: this is no name of a service"},
		"of an address":  {map[string]string{"a": "address: 127.0.0.1, dependsOn: [b]", "b": "command: [b]"}, "spec.services.a.workloads.v1.dependsOn: this is for a workload that is started here; one with an address runs already"},
		"no list at all": {map[string]string{"a": "command: [a], dependsOn: b", "b": "command: [b]"}, "spec.services.a.workloads.v1.dependsOn: want a list, got the text \"b\""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, problems := parse(t, services(c.depends))
			var got []string
			for _, p := range problems {
				got = append(got, p.Field+": "+p.Message)
			}
			if text := strings.Join(got, "\n"); text != c.want {
				t.Errorf("got %q, want %q", text, c.want)
			}
		})
	}
}
