package config

import (
	"reflect"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Kind is one kind of object that a dialect understands.
type Kind struct {
	Name        string   // "RouteRule"
	APIVersions []string // those accepted, the preferred one first
	Type        string   // the word that commands print: "route-rule"
	Plural      string   // "routerules"
	Short       []string // further names on the command line
	Fields      []string // that its objects have beside those that every object has

	// Spec is the Go type that the kind decodes the spec of its objects into. A cluster needs a definition of it; nil: it
	// knows the kind by itself, or never sees it.
	Spec    reflect.Type
	Columns []Column // what lists show of an object beside its name

	Confidential bool // its objects hold secrets

	// Counts tells whether an object is meant for a mesh with these settings. One that is not means nothing, whatever stands in it.
	// nil: every one is.
	Counts func(*Object, *mesh.Settings) bool

	// Translate checks the object and says what it means. It reports all that it finds; with an error among the
	// problems the meaning is not used. It is nil for a kind whose objects say nothing about traffic.
	Translate func(*Object) (Meaning, []mesh.Problem)
}

// Column is one column of a list of objects.
type Column struct {
	Name string // "Destination"
	Type string // as in OpenAPI: "string", "integer"
	Path string // of the value in an object, as kubectl writes paths: ".spec.precedence"
}

// Meaning is what one object says, in the mesh's words.
type Meaning struct {
	Rules        []*mesh.RouteRule
	Policies     []*mesh.DestinationPolicy
	Egress       []*mesh.EgressRule
	Doors        []*mesh.DoorRule
	DoorTLS      []*mesh.DoorTLS
	Certificates []*mesh.Certificate
	Mentions     []Mention
}

// Mention is one place where an object names a host, with what it expects of it. Whether the host exists is no
// matter of the object alone: it is looked up in a snapshot.
type Mention struct {
	Host     mesh.Host
	Labels   mesh.Labels // of the endpoints that it selects; nil: all
	Port     int         // 0: any
	PortName string      // "": any
	Field    string
	Position mesh.Position
}

// Kinds are all the kinds that a program understands.
type Kinds []Kind

// Find returns the kind of an object by apiVersion and kind, or nil.
func (k Kinds) Find(apiVersion, name string) *Kind {
	for i := range k {
		if k[i].Name == name && slices.Contains(k[i].APIVersions, apiVersion) {
			return &k[i]
		}
	}
	return nil
}

// Named returns the kind that a word on the command line means (kind, type, singular, plural or short name, in any case), or nil.
func (k Kinds) Named(word string) *Kind {
	word = strings.ToLower(word)
	for i := range k {
		names := append([]string{strings.ToLower(k[i].Name), k[i].Type, k[i].Plural}, k[i].Short...)
		if slices.Contains(names, word) {
			return &k[i]
		}
	}
	return nil
}

// maxProblems bounds how many problems of one object are told.
const maxProblems = 100

// Read says what an object means and what is wrong with it, beyond what [Parse] told: its kind, fields that no object
// has, and whatever its kind finds, in a mesh that says nothing of itself. An object with an error means nothing.
func (k Kinds) Read(o *Object) (Meaning, []mesh.Problem) { return k.ReadIn(o, &mesh.DefaultSettings) }

// ReadIn is [Kinds.Read] in a mesh with these settings.
func (k Kinds) ReadIn(o *Object, settings *mesh.Settings) (Meaning, []mesh.Problem) {
	kind := k.Find(o.APIVersion, o.Kind)
	if kind == nil {
		return Meaning{}, []mesh.Problem{k.stranger(o)}
	}
	if kind.Counts != nil && !kind.Counts(o, settings) {
		return Meaning{}, nil
	}
	problems := slices.DeleteFunc(Decode(o, "", &top{}), func(p mesh.Problem) bool {
		return p.Code == CodeUnknownField && slices.Contains(kind.Fields, p.Field)
	})
	var meaning Meaning
	if kind.Translate != nil {
		var more []mesh.Problem
		meaning, more = kind.Translate(o)
		problems = append(problems, more...)
	}
	if o.Broken || mesh.HasErrors(problems) {
		meaning = Meaning{}
	}
	return meaning, bounded(o, problems)
}

// bounded returns the first problems in the order of the file, and a last one if there are more.
func bounded(o *Object, problems []mesh.Problem) []mesh.Problem {
	mesh.SortProblems(problems)
	if len(problems) <= maxProblems {
		return problems
	}
	last := o.Problem(CodeTooMany, "", "there are more problems than these %d", maxProblems)
	if !mesh.HasErrors(problems) {
		last.Severity = mesh.Warning
	}
	return append(problems[:maxProblems], last)
}

// elsewhere says of kinds that users bring from Kubernetes and from Istio what there is instead.
var elsewhere = func() map[string]string {
	hints := map[string]string{}
	tell := func(hint string, kinds ...string) {
		for _, kind := range kinds {
			hints[kind] = hint
		}
	}
	tell("on one machine, programs and their services stand in a Mesh file: `lateen demo --print` shows one",
		"Service", "Endpoints", "Pod", "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job",
		"CronJob", "ServiceAccount", "ConfigMap", "Namespace")
	tell("a Mesh file is for `lateen up -f FILE`, and is edited while the mesh runs", "Mesh")
	tell("policy and telemetry rules (Mixer) are not supported",
		"rule", "denier", "checknothing", "quota", "memquota", "redisquota", "listchecker", "listentry", "metric", "prometheus",
		"logentry", "stdio", "reportnothing", "attributemanifest", "kubernetes", "kubernetesenv", "statsd", "QuotaSpec",
		"QuotaSpecBinding", "HTTPAPISpec", "HTTPAPISpecBinding")
	tell("networking.istio.io is not supported: write RouteRule, DestinationPolicy, EgressRule and Ingress",
		"VirtualService", "DestinationRule", "Gateway", "ServiceEntry", "Sidecar", "WorkloadEntry")
	return hints
}()

// stranger says why no kind takes the object.
func (k Kinds) stranger(o *Object) mesh.Problem {
	var names, versions []string
	for _, kind := range k {
		names = append(names, kind.Name)
		if kind.Name == o.Kind {
			versions = append(versions, kind.APIVersions...)
		}
	}
	if len(versions) > 0 {
		p := o.Problem(CodeUnsupportedVersion, "apiVersion", "%s of %s is not supported", o.Kind, quoted(o.APIVersion))
		p.Hint = "accepted: " + strings.Join(versions, ", ")
		return p
	}
	slices.Sort(names)
	p := o.Problem(CodeUnknownKind, "kind", "unknown kind %s of %s", quoted(o.Kind), quoted(o.APIVersion))
	if p.Hint = elsewhere[o.Kind]; p.Hint == "" || Nearest(o.Kind, names) != "" {
		p.Hint = Suggest(o.Kind, "known kinds", names)
	}
	return p
}
