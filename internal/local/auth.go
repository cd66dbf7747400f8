package local

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/identity"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Annotations of a service that have a meaning; all others are somebody else's.
const (
	authPrefix         = "auth.istio.io" // …/PORT: the port's policy
	kubernetesAccounts = "alpha.istio.io/kubernetes-serviceaccounts"
	canonicalAccounts  = "alpha.istio.io/canonical-serviceaccounts"
)

// inherits is the policy of a port that says nothing itself.
const inherits = "INHERIT"

// CodeNoIdentity is the code of a problem: a workload cannot prove who it is, as its callers ask. It is fixed like those
// of package config.
const CodeNoIdentity = "no-identity"

// controlPlanePolicy reads how proxies and the control plane know one another. There is one way.
func (r *reader) controlPlanePolicy(path, word string) {
	switch word {
	case string(mesh.AuthMutualTLS):
	case string(mesh.AuthNone):
		r.Warn(mesh.Problem{
			Field: path, Code: config.CodeNoEffect, Message: "connections of proxies to Lateen stay mutual TLS",
			Hint: "take it away; `lateen serve --plain-xds` is for proxies that have no identity",
		})
	default:
		r.invalid(path, strconv.Quote(word)+" is no policy for connections to Lateen", "write MUTUAL_TLS, or take it away")
	}
}

// excludedServices notes the services that are called in plain text. Which they are is known when all documents are.
func (r *reader) excludedServices(path string, names []string) {
	for i, name := range names {
		at := config.Item(path, i)
		if !config.IsDomain(strings.ToLower(name)) {
			r.Tell(mesh.Problem{
				Field: at, Code: config.CodeInvalidName, Message: "this is no name of a service",
				Hint: "write it as NAME, NAME.NAMESPACE or the whole host",
			})
			continue
		}
		r.excluded = append(r.excluded, mention{object: r.Object, path: at, service: name})
	}
}

// annotations reads those of a service that say how it is secured.
func (r *reader) annotations(path string, s *mesh.Service, annotations map[string]string) {
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		at, value := config.Key(path, name), annotations[name]
		port, isPolicy := strings.CutPrefix(name, authPrefix+"/")
		switch {
		case isPolicy:
			r.portPolicy(at, s, port, value)
		case name == kubernetesAccounts:
			r.accounts(at, s, value)
		case name == canonicalAccounts:
			r.identities(at, s, value)
		default:
			r.misspelt(at, s, name)
		}
	}
}

func (r *reader) portPolicy(path string, s *mesh.Service, port, word string) {
	number, err := strconv.Atoi(port)
	i := slices.IndexFunc(s.Ports, func(p mesh.Port) bool { return p.Number == number })
	if err != nil || i < 0 || strconv.Itoa(number) != port { // there is one way to write a number
		r.unknownPort(path, s, port)
		return
	}
	if word != inherits {
		s.Ports[i].AuthPolicy = meshconfig.AuthPolicy(&r.Check, path, word)
	}
}

// serviceAccount checks the account of a service's workloads.
func (r *reader) serviceAccount(path string, s *mesh.Service, account string) {
	switch {
	case !config.IsDomain(account):
		r.Tell(mesh.Problem{
			Field: path, Code: config.CodeInvalidName, Message: strconv.Quote(account) + " is no name of a service account", Hint: config.AccountHint,
		})
	case s.Namespace == planeID.Namespace && account == planeID.Account:
		r.planeAccount(path)
	case account == ingressName:
		r.doors = append(r.doors, mention{object: r.Object, path: path, service: s.Name})
	}
}

// planeID is the control plane's identity, of whichever trust domain.
var planeID = identity.ControlPlane(domain)

// unknownPort reports that a service has no port of this number.
func (r *reader) unknownPort(path string, s *mesh.Service, port string) {
	p := mesh.Problem{Field: path, Code: config.CodeUnknownPort, Message: fmt.Sprintf("service %s has no port %s", s.Name, port)}
	var ports []string
	for _, one := range s.Ports {
		ports = append(ports, strconv.Itoa(one.Number))
	}
	p.Hint = "ports go by their numbers: " + strings.Join(ports, ", ")
	if named, ok := s.PortNamed(port); ok {
		p.Message = fmt.Sprintf("here ports go by number, and %s is the name of one", port)
		p.Hint = fmt.Sprintf("write %s/%d", authPrefix, named.Number)
	} else if number, err := strconv.Atoi(port); err == nil && slices.Contains(ports, strconv.Itoa(number)) {
		p.Hint = fmt.Sprintf("write %s/%d", authPrefix, number)
	}
	r.Tell(p)
}

// planeAccount reports that somebody is to be the control plane.
func (r *reader) planeAccount(path string) {
	r.invalid(path, fmt.Sprintf("account %s of namespace %s is Lateen itself: no workload is given its identity", planeID.Account, planeID.Namespace),
		"give it another account")
}

// sharesDoor warns of services whose workloads have the identity of the ingress.
func (m *Mesh) sharesDoor(doors []mention) []mesh.Problem {
	var problems []mesh.Problem
	for _, at := range doors {
		if m.Ingress == nil || at.object.Namespace != m.Namespace {
			continue
		}
		p := at.object.Problem(config.CodeConflictingFields, at.path,
			"the ingress has the account %s of this namespace too: workloads of %s have the identity of the door", ingressName, at.service)
		p.Severity, p.Hint = mesh.Warning, "give the service another account"
		problems = append(problems, p)
	}
	return problems
}

// accounts reads accounts of the service's namespace.
func (r *reader) accounts(path string, s *mesh.Service, list string) {
	for name := range strings.SplitSeq(list, ",") {
		if name = strings.TrimSpace(name); !config.IsDomain(name) {
			r.Tell(mesh.Problem{
				Field: path, Code: config.CodeInvalidName, Message: strconv.Quote(name) + " is no name of a service account",
				Hint: "it names accounts of namespace " + s.Namespace + ", with commas between; others go into " + canonicalAccounts,
			})
			return
		}
		if s.Namespace == planeID.Namespace && name == planeID.Account {
			r.planeAccount(path)
			return
		}
		r.mesh.account(s.Host, name)
	}
}

// identities reads SPIFFE IDs, with or without the scheme before them.
func (r *reader) identities(path string, s *mesh.Service, list string) {
	for text := range strings.SplitSeq(list, ",") {
		text = strings.TrimSpace(text)
		id, err := identity.Parse(text)
		if bare, bareErr := identity.Parse("spiffe://" + text); err != nil && bareErr == nil {
			id, err = bare, nil
		}
		if err != nil {
			r.invalid(path, err.Error(), "write whole SPIFFE IDs, with commas between")
			return
		}
		if id == identity.ControlPlane(id.TrustDomain) {
			r.planeAccount(path)
			return
		}
		r.mesh.namings = append(r.mesh.namings, naming{mention{object: r.Object, path: path, service: s.Name}, id})
		s.Identities = append(s.Identities, id.String())
	}
}

// naming is that a service names an identity which its servers may have.
type naming struct {
	at mention
	id identity.ID
}

// foreign warns of identities that no server can prove: there is one trust domain.
func (m *Mesh) foreign(trustDomain string) []mesh.Problem {
	var problems []mesh.Problem
	for _, n := range m.namings {
		if n.id.TrustDomain == trustDomain {
			continue
		}
		p := n.at.object.Problem(config.CodeNoEffect, n.at.path, "no server of %s can prove that it is %s: the trust domain of the mesh is %s",
			n.at.service, n.id, trustDomain)
		p.Severity, p.Hint = mesh.Warning, fmt.Sprintf("write spiffe://%s/ns/%s/sa/%s, or take it away", trustDomain, n.id.Namespace, n.id.Account)
		problems = append(problems, p)
	}
	return problems
}

// misspelt warns of an annotation that is most likely meant to be one of those that count.
func (r *reader) misspelt(path string, s *mesh.Service, name string) {
	near := config.Nearest(name, []string{kubernetesAccounts, canonicalAccounts})
	prefix, rest, _ := strings.Cut(name, "/")
	number, err := strconv.Atoi(rest)
	named, isName := s.PortNamed(rest)
	switch {
	case config.Nearest(prefix, []string{authPrefix}) == "":
	case err == nil:
		near = fmt.Sprintf("%s/%d", authPrefix, number)
	case isName:
		near = fmt.Sprintf("%s/%d", authPrefix, named.Number)
	case prefix == authPrefix:
		near = authPrefix + "/PORT"
	}
	if near != "" {
		r.Warn(mesh.Problem{
			Field: path, Code: config.CodeNoEffect, Message: "the annotation has no meaning here", Hint: "did you mean " + strconv.Quote(near) + "?",
		})
	}
}

// account notes that programs of an account, of the service's namespace, may answer for it.
func (m *Mesh) account(host mesh.Host, name string) {
	if m.accounts == nil {
		m.accounts = map[mesh.Host][]string{}
	}
	m.accounts[host] = append(m.accounts[host], name)
}

// services returns the services with all identities that may answer for them, those of accounts that nothing runs with too,
// so that callers know who will.
func (m *Mesh) services(realm mesh.Realm) []*mesh.Service {
	all := make([]*mesh.Service, len(m.Services))
	for i, s := range m.Services {
		known := *s
		known.Identities = slices.Clone(s.Identities)
		for _, name := range m.accounts[s.Host] {
			known.Identities = append(known.Identities, realm.IdentityOf(s.Namespace, name))
		}
		slices.Sort(known.Identities)
		known.Identities = slices.Compact(known.Identities)
		all[i] = &known
	}
	return all
}

// exclude adds the services that are called in plain text to the settings, and warns of those that there are not.
func (m *Mesh) exclude(excluded []mention) []mesh.Problem {
	r := newResolver(m.Services)
	for _, at := range excluded {
		if s := r.find(at); s != nil {
			m.Settings.MTLSExcluded = append(m.Settings.MTLSExcluded, s.Host)
			continue
		}
		p := at.object.Problem(config.CodeUnknownHost, at.path, "there is no service %s: nothing is excluded", at.service)
		p.Severity, p.Hint = mesh.Warning, r.suggest(at)
		r.problems = append(r.problems, p)
	}
	slices.Sort(m.Settings.MTLSExcluded)
	m.Settings.MTLSExcluded = slices.Compact(m.Settings.MTLSExcluded)
	return r.problems
}

// unproven warns of workloads without a proxy at ports whose callers ask who they are.
func (m *Mesh) unproven(bare []mention) []mesh.Problem {
	services := newResolver(m.Services).services
	var problems []mesh.Problem
	for _, at := range bare {
		s := services[at.workload.Host]
		if m.Settings.Excludes(s.Host) {
			continue
		}
		var asked []string
		first := 0
		for _, p := range s.Ports {
			if m.Settings.Policy(p) == mesh.AuthMutualTLS {
				asked = append(asked, fmt.Sprintf("%s:%d", s.Name, p.Number))
				first = cmp.Or(first, p.Number)
			}
		}
		if len(asked) == 0 {
			continue
		}
		p := at.object.Problem(CodeNoIdentity, at.path, "calls to %s are refused: the policy is MUTUAL_TLS, and without a proxy the workload cannot prove who it is",
			strings.Join(asked, ", "))
		p.Severity = mesh.Warning
		p.Hint = fmt.Sprintf("annotate the service with %s/%d: PERMISSIVE (or NONE), or name it in settings.mtlsExcludedServices", authPrefix, first)
		problems = append(problems, p)
	}
	return problems
}
