package kube

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Annotations of a Service that have a meaning, as in Mesh files; all others are somebody else's.
const (
	authPrefix         = "auth.istio.io" // …/PORT: the port's policy
	kubernetesAccounts = "alpha.istio.io/kubernetes-serviceaccounts"
	canonicalAccounts  = "alpha.istio.io/canonical-serviceaccounts"
	inherits           = "INHERIT" // policy of a port that says nothing itself
)

// concerns tells whether an annotation has a meaning, or is likely meant to.
func concerns(key string) bool {
	prefix, _, _ := strings.Cut(key, "/")
	return config.Nearest(prefix, []string{authPrefix}) != "" || config.Nearest(key, []string{kubernetesAccounts, canonicalAccounts}) != ""
}

// annotationReader reads the annotations of a service into it. One that makes no sense is a problem, and as if it were not there.
type annotationReader struct {
	service  *mesh.Service
	realm    mesh.Realm
	problems []mesh.Problem
}

func (r *annotationReader) read(annotations map[string]string) {
	for _, key := range slices.Sorted(maps.Keys(annotations)) {
		at, value := config.Key("metadata.annotations", key), annotations[key]
		port, isPolicy := strings.CutPrefix(key, authPrefix+"/")
		switch {
		case isPolicy:
			r.policy(at, port, value)
		case key == kubernetesAccounts:
			r.accounts(at, value)
		case key == canonicalAccounts:
			r.identities(at, value)
		default:
			r.warn(at, config.CodeNoEffect, "the annotation has no meaning here", r.meant(key))
		}
	}
}

// meant says which annotation another one is likely a misspelling of.
func (r *annotationReader) meant(key string) string {
	near := config.Nearest(key, []string{kubernetesAccounts, canonicalAccounts})
	if near == "" {
		_, rest, _ := strings.Cut(key, "/")
		if port, ok := r.service.PortNamed(rest); ok {
			rest = strconv.Itoa(port.Number)
		}
		if _, err := strconv.Atoi(rest); err != nil {
			rest = "PORT"
		}
		near = authPrefix + "/" + rest
	}
	return "did you mean " + strconv.Quote(near) + "?"
}

func (r *annotationReader) policy(at, port, word string) {
	number, err := strconv.Atoi(port)
	i := slices.IndexFunc(r.service.Ports, func(p mesh.Port) bool { return p.Number == number })
	if err != nil || i < 0 || strconv.Itoa(number) != port { // there is one way to write a number
		r.error(at, config.CodeUnknownPort, fmt.Sprintf("the service has no port %.60s", port), r.portHint(port))
		return
	}
	policies := mesh.AuthPolicies()
	switch policy := mesh.AuthPolicy(word); {
	case word == inherits:
	case slices.Contains(policies, policy):
		r.service.Ports[i].AuthPolicy = policy
	default:
		words := []string{inherits}
		for _, p := range policies {
			words = append(words, string(p))
		}
		r.error(at, config.CodeInvalidValue, fmt.Sprintf("%.60q is no policy", word), config.Suggest(word, "policies", words))
	}
}

func (r *annotationReader) portHint(port string) string {
	if named, ok := r.service.PortNamed(port); ok {
		return fmt.Sprintf("here ports go by number: write %s/%d", authPrefix, named.Number)
	}
	var ports []string
	for _, p := range r.service.Ports {
		ports = append(ports, strconv.Itoa(p.Number))
	}
	return "ports go by their numbers: " + strings.Join(ports, ", ")
}

// accounts reads accounts of the service's namespace.
func (r *annotationReader) accounts(at, list string) {
	var all []string
	for account := range strings.SplitSeq(list, ",") {
		account = strings.TrimSpace(account)
		switch {
		case !config.IsDomain(account):
			r.error(at, config.CodeInvalidName, fmt.Sprintf("%.60q is no name of a service account", account),
				"it names accounts of namespace "+r.service.Namespace+", with commas between; others go into "+canonicalAccounts)
			return
		case r.isPlane(identity.ID{TrustDomain: r.realm.TrustDomain, Namespace: r.service.Namespace, Account: account}):
			r.plane(at)
			return
		}
		all = append(all, r.realm.IdentityOf(r.service.Namespace, account))
	}
	r.service.Identities = append(r.service.Identities, all...)
}

// identities reads SPIFFE IDs, with or without the scheme before them.
func (r *annotationReader) identities(at, list string) {
	var all []string
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		id, err := identity.Parse(text)
		if bare, bareErr := identity.Parse("spiffe://" + text); err != nil && bareErr == nil {
			id, err = bare, nil
		}
		switch {
		case err != nil:
			r.error(at, config.CodeInvalidValue, err.Error(), "write whole SPIFFE IDs, with commas between")
			return
		case r.isPlane(id):
			r.plane(at)
			return
		case id.TrustDomain != r.realm.TrustDomain:
			r.warn(at, config.CodeNoEffect, fmt.Sprintf("no server can prove that it is %s: the trust domain of the mesh is %s", id, r.realm.TrustDomain),
				fmt.Sprintf("write spiffe://%s/ns/%s/sa/%s, or take it away", r.realm.TrustDomain, id.Namespace, id.Account))
		}
		all = append(all, id.String())
	}
	r.service.Identities = append(r.service.Identities, all...)
}

// isPlane tells whether an identity is that of the control plane, which no other service has.
func (r *annotationReader) isPlane(id identity.ID) bool {
	own := r.service.Namespace == mesh.SystemNamespace && r.service.Name == mesh.SystemName
	return id == identity.ControlPlane(id.TrustDomain) && !own
}

func (r *annotationReader) plane(at string) {
	r.error(at, config.CodeInvalidValue, "this is the identity of Lateen itself: no service answers with it", "give it another account")
}

func (r *annotationReader) error(at, code, message, hint string) {
	r.tell(mesh.Error, at, code, message, hint)
}

func (r *annotationReader) warn(at, code, message, hint string) {
	r.tell(mesh.Warning, at, code, message, hint)
}

func (r *annotationReader) tell(severity mesh.Severity, at, code, message, hint string) {
	r.problems = append(r.problems, mesh.Problem{
		Object: mesh.Ref{Kind: "Service", Namespace: r.service.Namespace, Name: r.service.Name}, Field: at,
		Code: code, Severity: severity, Message: message, Hint: hint,
	})
}
