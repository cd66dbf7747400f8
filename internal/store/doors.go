package store

import (
	"fmt"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// paths tells which paths of Ingress objects lose to that of another one.
func (r *reviewer) paths(rules []*mesh.DoorRule) {
	type place struct {
		host      string
		anyDepth  bool
		path      mesh.StringMatch
		isDefault bool
	}
	first := map[place]mesh.Ref{}
	for _, rule := range rules { // of equal ones the first by object counts
		at := place{rule.Host, rule.AnyDepth, rule.Path, rule.Default}
		winner, taken := first[at]
		if !taken {
			first[at] = rule.Object
			continue
		}
		what := "the default backend"
		if !rule.Default {
			what = fmt.Sprintf("the %s %s of %s", pathWord(rule.Path.Kind), rule.Path.Value, hostOf(rule.Host))
		}
		r.tellAt(rule.Object, rule.Origin, ".path", mesh.Problem{
			Code: config.CodeDuplicatePath, Message: fmt.Sprintf("%s has %s too, and counts", winner, what),
			Hint: "of such paths the first by namespace and name of its object counts, and in one object the first",
		})
	}
}

func hostOf(host string) string {
	if host == "" {
		return "every host"
	}
	return host
}

func pathWord(kind mesh.MatchKind) string {
	switch kind {
	case mesh.MatchExact:
		return "exact path"
	case mesh.MatchRegex:
		return "expression of paths"
	default:
		return "path prefix"
	}
}

// certificates tells which certificates are not shown for a host, since another object names one.
func (r *reviewer) certificates(all []*mesh.DoorTLS) {
	first := map[string]*mesh.DoorTLS{}
	for _, tls := range all {
		hosts := tls.Hosts
		if len(hosts) == 0 {
			hosts = []string{""}
		}
		for i, host := range hosts {
			winner := first[host]
			if winner == nil {
				first[host] = tls
				continue
			}
			if winner.Secret != tls.Secret {
				r.tellAt(tls.Object, tls.Origin, config.Item(".hosts", i), mesh.Problem{
					Code:    config.CodeDuplicateTLS,
					Message: fmt.Sprintf("%s names the secret %s for %s, which counts", winner.Object, winner.Secret, hostOf(host)),
					Hint:    "of such certificates that of the first object by namespace and name counts",
				})
			}
		}
	}
}

// secrets tells which secrets are not there.
func (r *reviewer) secrets(all []*mesh.DoorTLS) {
	for _, tls := range all {
		if r.snapshot.Certificate(tls.Secret) == nil {
			r.tellAt(tls.Object, tls.Origin, ".secretName", mesh.Problem{
				Code: config.CodeUnknownSecret, Message: "there is no secret " + tls.Secret + " with a certificate", Hint: r.secretHint(tls.Secret),
			})
		}
	}
}

func (r *reviewer) secretHint(path string) string {
	var known []string
	for _, k := range r.snapshot.Keys(mesh.KindSecret) {
		known = append(known, k.Name)
	}
	if near := config.Nearest(path, known); near != "" {
		return fmt.Sprintf("did you mean %q?", near)
	}
	namespace, name, _ := strings.Cut(path, "/")
	return fmt.Sprintf("add a Secret %s in the namespace %s, of type kubernetes.io/tls", name, namespace)
}
