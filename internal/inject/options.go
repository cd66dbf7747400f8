package inject

import (
	"cmp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/inject/policy"
)

// Options say what is injected.
type Options struct {
	Image   string            // of agent and Envoy
	Pull    corev1.PullPolicy // of the image; "": IfNotPresent
	Version string            // of the sidecar, as the pod's annotation tells it
	Ranges  []string          // networks of IPv4 whose addresses are captured when the pod calls them; none, and "*": all
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
	return cmp.Or(policy.CheckImage(o.Image), policy.CheckPull(string(o.Pull)), policy.CheckVersion(o.Version), policy.CheckRanges(o.Ranges))
}

// ranges returns the networks as the capture is told them; "" for all.
func (o Options) ranges() string {
	if slices.Contains(o.Ranges, policy.AllNetworks) {
		return ""
	}
	return strings.Join(o.Ranges, ",")
}
