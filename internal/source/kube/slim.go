package kube

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// name names an object of one kind.
type name struct{ namespace, name string }

func nameOf(o metav1.Object) name { return name{intern(o.GetNamespace()), strings.Clone(o.GetName())} }

func (n name) String() string { return n.namespace + "/" + n.name }

func compareNames(a, b name) int {
	if c := strings.Compare(a.namespace, b.namespace); c != 0 {
		return c
	}
	return strings.Compare(a.name, b.name)
}

// service is what is kept of a Service.
type service struct {
	addresses   []string
	headless    bool
	external    string
	ports       []mesh.Port
	targets     []target          // for each of the ports that of its pods
	selector    []label           // of its pods, sorted; none: somebody else says which endpoints it has
	annotations map[string]string // those that may concern the mesh
}

// target is a port of a pod: by number, by the name that a container gives it, or both.
type target struct {
	number int
	name   string
}

// label is a label that a pod has to have. In a list it takes a fifth of what it takes in a map.
type label struct{ key, value string }

// slice is what is kept of an EndpointSlice.
type slice struct {
	service   string // its name; it is of the same namespace
	v6        bool
	ports     map[string]int // by name: shared by the endpoints of the slice
	endpoints []endpoint     // in the order of the slice
}

// endpoint is one address in a slice.
type endpoint struct {
	address string
	pod     string // name of the pod that it is, of the same namespace; "": it is none
	uid     string // of the pod
	health  mesh.Health
	node    string
	zone    string
}

// pod is what is kept of a Pod.
type pod struct {
	uid       string
	created   time.Time
	deleting  bool
	gone      bool // it has ended: its address may be that of another one by now
	host      bool // its network is that of its node
	proxy     bool
	door      bool     // the proxy is the ingress
	running   bool     // its proxy takes requests
	unheard   bool     // it counts as not ready since nothing was heard of its node; the kubelet said last that it is
	addresses []string // the primary one first
	labels    mesh.Labels
	account   string
	ports     []target // that containers name; of one with a proxy
	probes    []mesh.Probe
	inbound   *mesh.Inbound // which connections its proxy does not take
	ipv6      bool          // those by IPv6 are captured too: programs that were not told its addresses know no IPv6
}

// intern returns the text, shared with equal ones: names of nodes, namespaces and labels are repeated in every object.
func intern(s string) string { return unique.Make(s).Value() }

// slimService keeps what counts of a Service.
func slimService(o *corev1.Service) *service {
	s := &service{external: o.Spec.ExternalName}
	if o.Spec.Type != corev1.ServiceTypeExternalName {
		s.external = ""
	}
	addresses := o.Spec.ClusterIPs
	if len(addresses) == 0 && o.Spec.ClusterIP != "" {
		addresses = []string{o.Spec.ClusterIP}
	}
	for _, a := range addresses {
		if a == corev1.ClusterIPNone {
			s.headless = true
		} else if a != "" {
			s.addresses = append(s.addresses, a)
		}
	}
	if len(addresses) == 0 && s.external == "" {
		s.headless = true
	}
	ports := slices.Clone(o.Spec.Ports)
	slices.SortFunc(ports, func(a, b corev1.ServicePort) int { return int(a.Port - b.Port) })
	for i := range ports {
		if p := &ports[i]; p.Protocol == corev1.ProtocolTCP || p.Protocol == "" {
			s.ports = append(s.ports, mesh.Port{Name: intern(p.Name), Number: int(p.Port), Protocol: protocolOf(p.AppProtocol, p.Name)})
			s.targets = append(s.targets, targetOf(p))
		}
	}
	for key, value := range o.Spec.Selector {
		s.selector = append(s.selector, label{intern(key), intern(value)})
	}
	slices.SortFunc(s.selector, func(a, b label) int { return strings.Compare(a.key, b.key) })
	for key, value := range o.Annotations {
		if concerns(key) {
			if s.annotations == nil {
				s.annotations = map[string]string{}
			}
			s.annotations[key] = value
		}
	}
	return s
}

// targetOf returns which port of its pods stands behind a port.
func targetOf(p *corev1.ServicePort) target {
	switch {
	case p.TargetPort.Type == intstr.String:
		return target{name: intern(p.TargetPort.StrVal)}
	case p.TargetPort.IntVal == 0:
		return target{number: int(p.Port)}
	default:
		return target{number: int(p.TargetPort.IntVal)}
	}
}

// slimSlice keeps what counts of an EndpointSlice; nil: it says nothing, since it belongs to no service or holds names.
func slimSlice(o *discoveryv1.EndpointSlice) *slice {
	s := &slice{service: intern(o.Labels[discoveryv1.LabelServiceName]), v6: o.AddressType == discoveryv1.AddressTypeIPv6}
	if s.service == "" || o.AddressType == discoveryv1.AddressTypeFQDN {
		return nil
	}
	for _, p := range o.Ports {
		if p.Port == nil || (p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP) {
			continue
		}
		if s.ports == nil {
			s.ports = map[string]int{}
		}
		s.ports[intern(valueOf(p.Name))] = int(*p.Port)
	}
	for i := range o.Endpoints {
		if e, ok := slimEndpoint(&o.Endpoints[i]); ok {
			s.endpoints = append(s.endpoints, e)
		}
	}
	return s
}

// slimEndpoint keeps what counts of an endpoint. One that takes no requests has no health, and says only which pod the service has.
func slimEndpoint(o *discoveryv1.Endpoint) (endpoint, bool) {
	if len(o.Addresses) == 0 {
		return endpoint{}, false
	}
	e := endpoint{address: strings.Clone(o.Addresses[0]), node: intern(valueOf(o.NodeName)), zone: intern(valueOf(o.Zone))}
	if ref := o.TargetRef; ref != nil && ref.Kind == "Pod" {
		e.pod, e.uid = strings.Clone(ref.Name), strings.Clone(string(ref.UID))
	}
	ready := o.Conditions.Ready == nil || *o.Conditions.Ready
	serving := ready
	if o.Conditions.Serving != nil {
		serving = serving || *o.Conditions.Serving
	}
	terminating := o.Conditions.Terminating != nil && *o.Conditions.Terminating
	switch {
	case terminating && serving:
		e.health = mesh.Draining
	case ready:
		e.health = mesh.Healthy
	}
	return e, true
}

// slimPod keeps what counts of a Pod.
func slimPod(o *corev1.Pod) *pod {
	p := &pod{
		uid: strings.Clone(string(o.UID)), created: o.CreationTimestamp.UTC(), deleting: o.DeletionTimestamp != nil, host: o.Spec.HostNetwork,
		gone:    o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed,
		account: intern(o.Spec.ServiceAccountName), unheard: isUnheard(o),
	}
	if p.account == "" {
		p.account = "default"
	}
	for _, ip := range o.Status.PodIPs {
		p.addresses = append(p.addresses, strings.Clone(ip.IP))
	}
	if primary := o.Status.PodIP; primary != "" && !slices.Contains(p.addresses, primary) {
		p.addresses = append([]string{strings.Clone(primary)}, p.addresses...)
	}
	for key, value := range o.Labels {
		if !ofRollout[key] {
			if p.labels == nil {
				p.labels = mesh.Labels{}
			}
			p.labels[intern(key)] = intern(value)
		}
	}
	if p.proxy = hasProxy(&o.Spec); p.proxy {
		p.running = !p.deleting && proxyRuns(&o.Spec, &o.Status)
		// Who may make such a pod may do everything in this namespace. What a pod of another one says of itself makes it no door.
		p.door = o.Namespace == mesh.SystemNamespace && p.account == mesh.IngressName
		flags := captureFlags(&o.Spec)
		p.probes, p.ports, p.inbound = probesOf(&o.Spec), namedPorts(&o.Spec), inboundOf(flags)
		_, p.ipv6 = flags[mesh.AddressesFlag]
	}
	return p
}

// isUnheard tells whether a pod is not ready for no reason of its own. The node controller takes PodReady from all pods of a node
// whose Lease has expired, and from nothing else; the kubelet, which knows, takes ContainersReady or a readiness gate with it.
func isUnheard(o *corev1.Pod) bool {
	is := func(kind corev1.PodConditionType) corev1.ConditionStatus {
		for i := range o.Status.Conditions {
			if c := &o.Status.Conditions[i]; c.Type == kind {
				return c.Status
			}
		}
		return corev1.ConditionUnknown
	}
	return o.DeletionTimestamp == nil && is(corev1.PodReady) == corev1.ConditionFalse && is(corev1.ContainersReady) == corev1.ConditionTrue &&
		!slices.ContainsFunc(o.Spec.ReadinessGates, func(g corev1.PodReadinessGate) bool { return is(g.ConditionType) != corev1.ConditionTrue })
}

// ofRollout are labels that controllers add and that differ between rollouts: nobody routes by them, and with them the pods of a
// new rollout would be other callers than those before.
var ofRollout = map[string]bool{
	"pod-template-hash": true, "controller-revision-hash": true, "pod-template-generation": true,
	"controller-uid": true, "batch.kubernetes.io/controller-uid": true,
}

func hasProxy(spec *corev1.PodSpec) bool { return proxyOf(spec) != nil }

// proxyOf returns the container with the proxy, or nil.
func proxyOf(spec *corev1.PodSpec) *corev1.Container {
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			if list[i].Name == mesh.ProxyContainer {
				return &list[i]
			}
		}
	}
	return nil
}

// proxyRuns tells whether the proxy takes requests, as its agent has told the node: then it has its configuration, and does by that
// until it hears something else. What only runs under its name, or is started over and over, has never had one: nobody waits for it.
func proxyRuns(spec *corev1.PodSpec, status *corev1.PodStatus) bool {
	proxy := proxyOf(spec)
	for _, list := range [][]corev1.ContainerStatus{status.InitContainerStatuses, status.ContainerStatuses} {
		for _, c := range list {
			if c.Name != mesh.ProxyContainer {
				continue
			}
			started := asksAgent(proxy.StartupProbe) && c.Started != nil && *c.Started
			return c.State.Running != nil && (started || (asksAgent(proxy.ReadinessProbe) && c.Ready))
		}
	}
	return false
}

// asksAgent tells whether a probe asks the agent of a sidecar how its Envoy is.
func asksAgent(p *corev1.Probe) bool {
	return p != nil && p.HTTPGet != nil && p.HTTPGet.Port.IntValue() == mesh.AgentHealthPort
}

// networks are the CIDRs of a ServiceCIDR.
type networks []string

func slimNetworks(o *networkingv1.ServiceCIDR) *networks {
	if o.DeletionTimestamp != nil {
		return nil
	}
	n := networks(slices.Clone(o.Spec.CIDRs))
	return &n
}

// class is an IngressClass whose objects are for the door.
type class struct{}

// slimClass keeps a class that names Lateen as its controller; nil: it is that of another one.
func slimClass(o *networkingv1.IngressClass) *class {
	if o.DeletionTimestamp != nil || o.Spec.Controller != mesh.IngressController {
		return nil
	}
	return &class{}
}

// node is where a node is.
type node struct{ region string }

func slimNode(o *metav1.PartialObjectMetadata) *node {
	for _, key := range []string{corev1.LabelTopologyRegion, corev1.LabelFailureDomainBetaRegion} {
		if region := o.Labels[key]; region != "" {
			return &node{intern(region)}
		}
	}
	return nil
}

func valueOf(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

func equalServices(a, b *service) bool {
	return slices.Equal(a.addresses, b.addresses) && a.headless == b.headless && a.external == b.external &&
		slices.Equal(a.ports, b.ports) && maps.Equal(a.annotations, b.annotations) && aimAlike(a, b)
}

// aimAlike tells whether two states of a service have the same pods behind the same ports.
func aimAlike(a, b *service) bool {
	return slices.Equal(a.selector, b.selector) && slices.Equal(a.targets, b.targets) && slices.Equal(a.ports, b.ports) && a.external == b.external
}

func equalSlices(a, b *slice) bool {
	return a.service == b.service && a.v6 == b.v6 && maps.Equal(a.ports, b.ports) && slices.Equal(a.endpoints, b.endpoints)
}

func equalPods(a, b *pod) bool {
	return a.running == b.running && slices.Equal(a.probes, b.probes) && slices.Equal(a.ports, b.ports) && a.looksLike(b)
}

// looksLike tells whether services see no difference between two states of a pod.
func (p *pod) looksLike(o *pod) bool {
	return p.unheard == o.unheard && p.uid == o.uid && p.created.Equal(o.created) && p.deleting == o.deleting && p.gone == o.gone && p.host == o.host && p.proxy == o.proxy && p.ipv6 == o.ipv6 && p.door == o.door &&
		slices.Equal(p.addresses, o.addresses) && maps.Equal(p.labels, o.labels) && p.account == o.account && reflect.DeepEqual(p.inbound, o.inbound)
}

// primary returns the address that the pod knows as its own, "" for none yet.
func (p *pod) primary() string {
	if len(p.addresses) == 0 {
		return ""
	}
	return p.addresses[0]
}
