package inject

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Options say what is injected.
type Options struct {
	Image   string            // of agent and Envoy
	Pull    corev1.PullPolicy // of the image; "": IfNotPresent
	Version string            // of the sidecar, as the pod's annotation tells it
	Ranges  []string          // networks whose addresses are captured when the pod calls them; none, and "*": all
	Exclude []string          // of these those whose addresses are not; "*": none is captured
	Tuning  Tuning            // of a single pod
}

// Tuning is what the annotations of a pod say of its sidecar.
type Tuning struct {
	PassOutbound []uint16            // ports of others to which connections are not captured
	SendOutbound []uint16            // ports of others to which they are, though their networks are not among those of Ranges
	Inbound      mesh.Inbound        // connections to the pod that its proxy does not take
	Requests     corev1.ResourceList // of the proxy, in the place of the usual ones
	Limits       corev1.ResourceList // of the proxy
	LogLevel     string              // of Envoy; "": as the agent has it
	Concurrency  int                 // threads of Envoy; 0: as the agent has it
}

// With returns the options with what a mesh's document says instead.
func (o Options) With(p policy.Params) Options {
	o.Image, o.Pull, o.Version = cmp.Or(p.Image, o.Image), cmp.Or(corev1.PullPolicy(p.Pull), o.Pull), cmp.Or(p.Version, o.Version)
	if p.Ranges != nil {
		o.Ranges = p.Ranges
	}
	return o
}

// Check returns an error unless pods can be injected with these options.
func (o Options) Check() error {
	return cmp.Or(policy.CheckImage(o.Image), policy.CheckPull(string(o.Pull)), policy.CheckVersion(o.Version), o.checkRanges())
}

// checkRanges returns an error unless all networks can be captured, or left out of that, and there are not too many in all.
func (o Options) checkRanges() error {
	return policy.CheckRanges(slices.Concat(o.Ranges, o.Exclude))
}

// ranges returns the networks as the capture is told them; "" for all.
func (o Options) ranges() string {
	if slices.Contains(o.Ranges, policy.AllNetworks) {
		return ""
	}
	return strings.Join(o.Ranges, ",")
}
