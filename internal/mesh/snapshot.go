package mesh

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"time"
)

// Kind is a kind of part of a [Snapshot].
type Kind string

// The kinds of parts.
const (
	KindService   Kind = "service"
	KindServices  Kind = "services" // which services there are
	KindEndpoints Kind = "endpoints"
	KindRules     Kind = "rules"
	KindWorkload  Kind = "workload"
	KindDoor      Kind = "door"
	KindPolicies  Kind = "policies"
	KindEgress    Kind = "egress" // of a host; "" for the patterns
	KindSettings  Kind = "settings"
	KindSecret    Kind = "secret" // "default/shop-tls"
	KindStance    Kind = "stance" // of a host

	KindAddress Kind = "address" // to whom an IP address belongs: this follows from the others
	KindRanges  Kind = "ranges"  // in which networks the mesh is: likewise

	KindServiceAddresses Kind = "service-addresses" // which addresses services have: likewise

	KindSpoken Kind = "spoken" // what services speak on their own addresses, by the number of the port: likewise

	KindOutside Kind = "outside" // egress rules for requests to a port, "80"; "" for which ports these are: likewise
)

// Key names one part of a Snapshot, whether it is there or not: who looked for a rule and found none depends on
// that key just like who found one.
type Key struct {
	Kind Kind
	Name string // the host, or the proxy's ID; "" for what there is once
}

// String returns "rules reviews.default.svc.cluster.local".
func (k Key) String() string { return string(k.Kind) + " " + k.Name }

// Follows tells whether the part says nothing of its own: it follows from others.
func (k Key) Follows() bool {
	return k.Kind == KindAddress || k.Kind == KindRanges || k.Kind == KindServiceAddresses || k.Kind == KindSpoken ||
		k.Kind == KindOutside
}

// Compare orders keys.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.Kind, o.Kind), cmp.Compare(k.Name, o.Name))
}

// Snapshot is everything known at one moment. It is immutable; make the next one with [Snapshot.Edit].
// The zero value is not useful, start with [NewSnapshot].
type Snapshot struct {
	revision int64
	realm    Realm
	shards   [shards]map[Key]any // pointers to immutable values
}

// shards is into how many maps the parts are spread. The next snapshot shares all but those that hold a change, so
// that making it costs little however much the mesh holds.
const shards = 256

// shard returns the number of the map that holds the key (FNV-1a over its name).
func (k Key) shard() int {
	hash := uint32(2166136261)
	for i := range len(k.Name) {
		hash = (hash ^ uint32(k.Name[i])) * 16777619
	}
	return int(hash % shards)
}

// DefaultCertTTL is how long a workload's certificate holds where nothing else is said.
const DefaultCertTTL = Duration(24 * time.Hour)

// NewSnapshot returns an empty snapshot at revision 0 of a mesh whose services live under domain ("cluster.local"), which is
// its trust domain too.
func NewSnapshot(domain string) *Snapshot {
	return NewSnapshotOf(Realm{Domain: domain, TrustDomain: domain, CertTTL: DefaultCertTTL})
}

// NewSnapshotOf returns an empty snapshot at revision 0 of a mesh.
func NewSnapshotOf(r Realm) *Snapshot { return &Snapshot{realm: r} }

// Revision counts the snapshots: a later one has a higher revision.
func (s *Snapshot) Revision() int64 { return s.revision }

// Domain is the DNS suffix of the mesh's services.
func (s *Snapshot) Domain() string { return s.realm.Domain }

// Realm is what holds for everything in the mesh.
func (s *Snapshot) Realm() Realm { return s.realm }

// Service returns the service with this host, or nil.
func (s *Snapshot) Service(h Host) *Service { return part[Service](s, Key{KindService, string(h)}) }

// Endpoints returns the endpoints of the host, or nil.
func (s *Snapshot) Endpoints(h Host) *EndpointSet {
	return part[EndpointSet](s, Key{KindEndpoints, string(h)})
}

// Rules returns the rules whose destination is the host, or nil.
func (s *Snapshot) Rules(h Host) *RuleSet { return part[RuleSet](s, Key{KindRules, string(h)}) }

// Workload returns the workload beside which the proxy stands, or nil.
func (s *Snapshot) Workload(id ProxyID) *Workload {
	return part[Workload](s, Key{KindWorkload, string(id)})
}

// Door returns what Ingress objects say, or nil.
func (s *Snapshot) Door() *Door { return part[Door](s, Key{Kind: KindDoor}) }

// Policies returns the policies whose destination is the host, or nil.
func (s *Snapshot) Policies(h Host) *PolicySet {
	return part[PolicySet](s, Key{KindPolicies, string(h)})
}

// Egress returns the rule whose destination is exactly this host, or nil.
func (s *Snapshot) Egress(h Host) *EgressRule { return part[EgressRule](s, Key{KindEgress, string(h)}) }

// EgressPatterns returns the rules whose destination is more than one host, or nil.
func (s *Snapshot) EgressPatterns() *EgressPatterns {
	return part[EgressPatterns](s, Key{Kind: KindEgress})
}

// Settings returns the settings of the mesh, or the default ones.
func (s *Snapshot) Settings() *Settings {
	if set := part[Settings](s, Key{Kind: KindSettings}); set != nil {
		return set
	}
	return &DefaultSettings
}

// Certificate returns the certificate at "NAMESPACE/NAME", or nil.
func (s *Snapshot) Certificate(path string) *Certificate {
	return part[Certificate](s, Key{KindSecret, path})
}

// Stance returns how the ports of the host are secured, or nil.
func (s *Snapshot) Stance(h Host) *Stance { return part[Stance](s, Key{KindStance, string(h)}) }

// Has tells whether the part is there.
func (s *Snapshot) Has(k Key) bool { return s.shards[k.shard()][k] != nil }

// Services returns the hosts of all services, sorted. Who reads them depends on the key of [KindServices].
func (s *Snapshot) Services() []Host {
	keys := s.Keys(KindService)
	hosts := make([]Host, len(keys))
	for i, k := range keys {
		hosts[i] = Host(k.Name)
	}
	return hosts
}

// Keys returns the keys of all parts of a kind, sorted.
func (s *Snapshot) Keys(kind Kind) []Key {
	var keys []Key
	for _, parts := range s.shards {
		for k := range parts {
			if k.Kind == kind {
				keys = append(keys, k)
			}
		}
	}
	slices.SortFunc(keys, Key.Compare)
	return keys
}

func part[T any](s *Snapshot, k Key) *T {
	p, _ := s.shards[k.shard()][k].(*T)
	return p
}

// Draft collects edits of a snapshot. An edit that changes nothing is none: the part keeps its pointer and its
// key is not reported.
type Draft struct {
	base    *Snapshot
	changed map[Key]any // nil value: removed
	quiet   []Key       // of parts that are counted anew, and say the same
}

// Edit starts the next snapshot.
func (s *Snapshot) Edit() *Draft { return &Draft{base: s, changed: map[Key]any{}} }

// SetService puts a service, or removes the one of this host when svc is nil.
func (d *Draft) SetService(h Host, svc *Service) { set(d, Key{KindService, string(h)}, svc) }

// SetEndpoints puts the endpoints of a host, or removes them.
func (d *Draft) SetEndpoints(h Host, e *EndpointSet) { set(d, Key{KindEndpoints, string(h)}, e) }

// SetRules puts the rules of a host, or removes them when r is nil.
func (d *Draft) SetRules(h Host, r *RuleSet) { set(d, Key{KindRules, string(h)}, r) }

// SetWorkload puts a workload, or removes it.
func (d *Draft) SetWorkload(id ProxyID, w *Workload) { set(d, Key{KindWorkload, string(id)}, w) }

// SetDoor puts what Ingress objects say, or removes it.
func (d *Draft) SetDoor(door *Door) { set(d, Key{Kind: KindDoor}, door) }

// SetPolicies puts the policies of a host, or removes them when p is nil.
func (d *Draft) SetPolicies(h Host, p *PolicySet) { set(d, Key{KindPolicies, string(h)}, p) }

// SetEgress puts the rule for exactly this host, or removes it.
func (d *Draft) SetEgress(h Host, r *EgressRule) { set(d, Key{KindEgress, string(h)}, r) }

// SetEgressPatterns puts the rules for more than one host, or removes them.
func (d *Draft) SetEgressPatterns(p *EgressPatterns) { set(d, Key{Kind: KindEgress}, p) }

// SetSettings puts the settings of the mesh, or removes them.
func (d *Draft) SetSettings(s *Settings) { set(d, Key{Kind: KindSettings}, s) }

// SetCertificate puts a certificate, or removes the one at this path.
func (d *Draft) SetCertificate(path string, c *Certificate) { set(d, Key{KindSecret, path}, c) }

// SetStance puts how the ports of a host are secured, or removes it.
func (d *Draft) SetStance(h Host, s *Stance) { set(d, Key{KindStance, string(h)}, s) }

func set[T any](d *Draft, k Key, value *T) {
	old := part[T](d.base, k)
	switch {
	case value == nil && old == nil, value != nil && old != nil && (value == old || reflect.DeepEqual(value, old)):
		delete(d.changed, k)
	case value == nil:
		d.changed[k] = nil
	default:
		d.changed[k] = value
	}
}

// Done returns the next snapshot and the keys of the parts that differ, sorted, with that of [KindServices] when services come or
// go. Without a difference it returns
// the snapshot it started from and no keys.
func (d *Draft) Done() (*Snapshot, []Key) {
	if len(d.changed) == 0 {
		return d.base, nil
	}
	d.indexAddresses()
	d.indexSpoken()
	d.indexOutside()
	next := &Snapshot{revision: d.base.revision + 1, realm: d.base.realm, shards: d.base.shards}
	own := map[int]bool{}
	for k, v := range d.changed {
		i := k.shard()
		if !own[i] {
			own[i] = true
			if next.shards[i] = maps.Clone(d.base.shards[i]); next.shards[i] == nil {
				next.shards[i] = map[Key]any{}
			}
		}
		if v == nil {
			delete(next.shards[i], k)
		} else {
			next.shards[i][k] = v
		}
	}
	keys := slices.Collect(maps.Keys(d.changed))
	keys = slices.DeleteFunc(keys, func(k Key) bool { return slices.Contains(d.quiet, k) })
	if slices.ContainsFunc(keys, func(k Key) bool { return k.Kind == KindService && d.base.Has(k) != next.Has(k) }) {
		keys = append(keys, Key{Kind: KindServices})
	}
	slices.SortFunc(keys, Key.Compare)
	return next, keys
}
