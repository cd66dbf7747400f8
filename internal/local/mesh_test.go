package local

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// document puts a spec into a Mesh document; its first line is line 5.
func document(spec string) string {
	return "apiVersion: lateen.dev/v1alpha1\nkind: Mesh\nmetadata: {name: town, namespace: east}\nspec:\n" + spec + "\n"
}

func parse(t *testing.T, text string) (*Mesh, []mesh.Problem) {
	t.Helper()
	objects, problems := config.Parse("dir/mesh.yaml", []byte(text), "")
	m, more := Read(objects)
	return m, append(problems, more...)
}

func TestRead(t *testing.T) {
	m, problems := parse(t, document(`
  ingress: {port: 8443, address: 0.0.0.0}
  services:
    reviews:
      serviceAccount: reviewer
      ports: [{name: http, port: 9080}, {name: grpc-api, port: 70}]
      workloads:
        v2: {command: [./reviews, "--port=${PORT}"], dir: src, replicas: 2, env: {A: b}, labels: {version: two, x: y}, ready: {http: /health, timeout: 5s}}
    mysqldb:
      ports: [{name: mysql, port: 3306}]
      workloads:
        v1: {address: "localhost:3307"}
        v2: {address: "10.0.0.1"}
`)+"---\n"+strings.Replace(document("  services: {reviews: {ports: [{name: tcp, port: 1}]}}"), "east", "west", 1))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if m.Name != "town" || m.Namespace != "east" || *m.Ingress != (Door{Address: "0.0.0.0", Port: 8443, Origin: m.Ingress.Origin}) {
		t.Errorf("mesh %+v, ingress %+v", m, m.Ingress)
	}
	var hosts []string
	for _, s := range m.Services {
		hosts = append(hosts, fmt.Sprint(s.Host, s.Ports))
	}
	if want := []string{
		"mysqldb.east.svc.cluster.local[{mysql 3306 TCP }]",
		"reviews.east.svc.cluster.local[{grpc-api 70 GRPC } {http 9080 HTTP }]",
		"reviews.west.svc.cluster.local[{tcp 1 TCP }]",
	}; !slices.Equal(hosts, want) {
		t.Errorf("services %q, want %q", hosts, want)
	}
	w := m.Workloads[2]
	if w.Name != "reviews-v2" || w.Account != "reviewer" || w.Replicas != 2 || w.Dir != "dir/src" || w.Env["A"] != "b" ||
		w.Ready != (Ready{HTTP: "/health", Timeout: 5 * time.Second}) || w.Labels.String() != "app=reviews,version=two,x=y" ||
		w.Ports[0].Name != "http" || w.Origin.String() != "dir/mesh.yaml:12:9" {
		t.Errorf("workload %+v", w)
	}
	if got := []string{m.Workloads[0].Runs.String(), m.Workloads[1].Runs.String()}; !slices.Equal(got, []string{"127.0.0.1:3307", "10.0.0.1:0"}) {
		t.Errorf("what runs already is at %v", got)
	}
	i := &Instance{Workload: m.Workloads[1]}
	if e := i.Endpoint(mesh.Healthy); e.Address != "10.0.0.1" || e.Ports["mysql"] != 3306 {
		t.Errorf("endpoint %+v", e)
	}
}

func TestReadProblems(t *testing.T) {
	service := func(text string) string { return "  services: {web: {ports: [{name: http, port: 80}], " + text + "}}" }
	workload := func(text string) string { return service("workloads: {v1: {" + text + "}}") }
	for name, c := range map[string]struct {
		spec string
		want string // position, field and code
	}{
		"annotations of a list":     {service("annotations: [a]"), "5:66 spec.services.web.annotations wrong-type"},
		"misspelt":                  {workload("comand: [a]"), "5:70 spec.services.web.workloads.v1.comand unknown-field"},
		"no command":                {workload(""), "5:65 spec.services.web.workloads.v1.command missing-field"},
		"command and address":       {workload(`command: [a], address: "1.2.3.4"`), "5:93 spec.services.web.workloads.v1.address conflicting-fields"},
		"replicas of an address":    {workload(`replicas: 2, address: "1.2.3.4"`), "5:80 spec.services.web.workloads.v1.replicas conflicting-fields"},
		"a name as address":         {workload(`address: "db:3306"`), "5:79 spec.services.web.workloads.v1.address invalid-value"},
		"port of a two-port serv.":  {"  services: {a: {ports: [{name: x, port: 1}, {name: y, port: 2}], workloads: {v: {address: \"1.2.3.4:5\"}}}}", "5:92 spec.services.a.workloads.v.address invalid-value"},
		"unknown variable":          {workload(`command: [a, "${PORTS}"]`), "5:83 spec.services.web.workloads.v1.command[1] unknown-variable"},
		"open variable":             {workload(`command: ["a${PORT"]`), "5:80 spec.services.web.workloads.v1.command[0] invalid-value"},
		"empty program":             {workload(`command: ["", a]`), "5:80 spec.services.web.workloads.v1.command[0] invalid-value"},
		"bad variable name":         {workload(`command: [a], env: {"A=B": c}`), "5:97 spec.services.web.workloads.v1.env[\"A=B\"] invalid-value"},
		"bad label":                 {workload(`command: [a], labels: {a: "b,c"}`), "5:96 spec.services.web.workloads.v1.labels.a invalid-value"},
		"too many replicas":         {workload("command: [a], replicas: 101"), "5:94 spec.services.web.workloads.v1.replicas out-of-range"},
		"ready path":                {workload("command: [a], ready: {http: health}"), "5:98 spec.services.web.workloads.v1.ready.http invalid-value"},
		"ready both ways":           {workload("command: [a], ready: {http: /h, tcp: true}"), "5:107 spec.services.web.workloads.v1.ready.tcp conflicting-fields"},
		"ready timeout":             {workload("command: [a], ready: {timeout: 5}"), "5:101 spec.services.web.workloads.v1.ready.timeout invalid-duration"},
		"pinned host":               {workload("command: [a], uses: {pin: [\"b:80\", b]}"), "5:105 spec.services.web.workloads.v1.uses.pin[1] invalid-value"},
		"forbidden host":            {workload("command: [a], uses: {forbid: [\"*\", \"b:0\"]}"), "5:105 spec.services.web.workloads.v1.uses.forbid[1] invalid-value"},
		"pinned and forbidden":      {workload("command: [a], uses: {pin: [\"b:80\"], forbid: [\"*\", \"B:80\"]}"), "5:120 spec.services.web.workloads.v1.uses.forbid[1] conflicting-fields"},
		"uses of what runs":         {workload("address: 127.0.0.1, uses: {pin: [\"b:80\"]}"), "5:90 spec.services.web.workloads.v1.uses conflicting-fields"},
		"workload name":             {service("workloads: {V1: {command: [a]}}"), "5:65 spec.services.web.workloads.V1 invalid-name"},
		"service name":              {"  services: {my_web: {ports: [{name: http, port: 80}]}}", "5:14 spec.services.my_web invalid-name"},
		"account":                   {service("serviceAccount: a/b"), "5:69 spec.services.web.serviceAccount invalid-name"},
		"no ports":                  {"  services: {web: {}}", "5:14 spec.services.web.ports missing-field"},
		"port without name":         {"  services: {web: {ports: [{port: 80}]}}", "5:28 spec.services.web.ports[0].name missing-field"},
		"port without number":       {"  services: {web: {ports: [{name: http}]}}", "5:28 spec.services.web.ports[0].port missing-field"},
		"port number":               {"  services: {web: {ports: [{name: http, port: 65536}]}}", "5:47 spec.services.web.ports[0].port out-of-range"},
		"port name twice":           {"  services: {web: {ports: [{name: a, port: 1}, {name: a, port: 2}]}}", "5:55 spec.services.web.ports[1].name invalid-value"},
		"port number twice":         {"  services: {web: {ports: [{name: a, port: 1}, {name: b, port: 1}]}}", "5:64 spec.services.web.ports[1].port invalid-value"},
		"ingress port":              {"  ingress: {port: 0}", "5:19 spec.ingress.port out-of-range"},
		"ingress address":           {"  ingress: {address: here}", "5:22 spec.ingress.address invalid-value"},
		"workload named twice":      {"  services: {a: {ports: [{name: x, port: 1}], workloads: {b-c: {command: [x]}}}, a-b: {ports: [{name: x, port: 1}], workloads: {c: {command: [x]}}}}", "5:129  duplicate-service"},
		"two ingresses":             {"  ingress: {}\n---\n" + document("  ingress: {}"), "11:3 spec.ingress duplicate-field"},
		"service in two documents":  {service("") + "\n---\n" + document(service("")), "11:14 spec.services.web duplicate-service"},
		"long name":                 {"  services: {" + strings.Repeat("a", 60) + ": {ports: [{name: x, port: 1}], workloads: {v1: {command: [x]}}}}", "5:118 spec.services." + strings.Repeat("a", 60) + ".workloads.v1 invalid-name"},
		"no kind of list":           {"  services: [web]", "5:13 spec.services wrong-type"},
		"a port that is no mapping": {"  services: {web: {ports: [80]}}", "5:28 spec.services.web.ports[0] wrong-type"},
	} {
		t.Run(name, func(t *testing.T) {
			m, problems := parse(t, document(c.spec))
			var got []string
			for _, p := range problems {
				got = append(got, fmt.Sprintf("%d:%d %s %s", p.Position.Line, p.Position.Column, p.Field, p.Code))
			}
			if m != nil || !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %q, want %q (mesh %v)", got, c.want, m)
			}
		})
	}
}

func TestUses(t *testing.T) {
	m, problems := parse(t, document(`  services: {web: {ports: [{name: http, port: 80}], workloads: {v1: {command: [a], uses: {pin: ["b.com:80"], forbid: ["*"]}}}}}`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	i := &Instance{Name: "web-v1-0", Workload: m.Workloads[0], Listen: map[string]int{}, Ports: map[string]int{}}
	if got, want := i.MeshWorkload().Uses, (mesh.Uses{Pin: []string{"b.com:80"}, Forbid: []string{"*"}}); !reflect.DeepEqual(got, want) {
		t.Errorf("the control plane is told %+v, want %+v", got, want)
	}
	other := *m.Workloads[0]
	other.Uses = mesh.Uses{}
	if !m.Workloads[0].sameProcess(&other) {
		t.Error("other uses restart the workload")
	}
}

func TestReadOthers(t *testing.T) {
	if m, problems := parse(t, "apiVersion: v1\nkind: Mesh\nmetadata: {name: x}\n"); m != nil || len(problems) > 0 {
		t.Errorf("a Mesh of another kind is read as %v %v", m, problems)
	}
}

func TestExpand(t *testing.T) {
	values := map[string]string{"PORT": "80", "PORT_A": "81"}
	for text, want := range map[string]string{
		"":                    "",
		"plain":               "plain",
		"${PORT}":             "80",
		"a${PORT}b${PORT_A}c": "a80b81c",
		"$$":                  "$",
		"$${PORT}":            "${PORT}",
		"$$$${PORT}":          "$${PORT}",
		"$$${PORT}":           "$80",
		"$HOME $1 $":          "$HOME $1 $",
		"${X}${PORT}":         "80 [X]",
		"${}":                 " []",
		"a${PORT":             "a${PORT open",
		"${PORT}${":           "80${ open",
	} {
		got, unknown, open := expand(text, values)
		if len(unknown) > 0 {
			got += " " + fmt.Sprint(unknown)
		}
		if open {
			got += " open"
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestVariables(t *testing.T) {
	w := Workload{Ports: []mesh.Port{{Name: "http", Number: 80}, {Name: "grpc-api", Number: 90}}}
	got := w.variables(map[string]int{"http": 20001, "grpc-api": 20002})
	want := map[string]string{"PORT": "20001", "PORT_HTTP": "20001", "PORT_GRPC_API": "20002"}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	i := &Instance{Name: "a-v1-0", Workload: &Workload{
		Ports: []mesh.Port{{Name: "http"}}, Env: map[string]string{"HTTP_PROXY": "", "X": "${PORT}", "PATH": "/only"},
	}, Ports: map[string]int{"http": 20001}, Outbound: 15001}
	i.Address = loopback
	env := environment([]string{"PATH=/bin", "JAVA_TOOL_OPTIONS=-Xmx1m", "HOME=/h", "PATH=/usr/bin"}, "/state/bin", "/state/xds.json", i)
	for name, want := range map[string]string{
		"HOME": "/h", "X": "20001", "HTTP_PROXY": "", "http_proxy": "http://127.0.0.1:15001", "PATH": "/only",
		"JAVA_TOOL_OPTIONS": "-Xmx1m -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=15001 -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=15001",
	} {
		if got := lookup(env, name); got != want {
			t.Errorf("%s=%s, want %s", name, got, want)
		}
	}
	if got := searchPath([]string{"PATH=/bin", "PATH=/usr/bin"}, "/state/bin"); got != "/state/bin:/usr/bin" {
		t.Errorf("PATH is %s", got)
	}
}
