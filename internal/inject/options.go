package inject

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Options say what is injected.
type Options struct {
	Image   string            // of agent and Envoy
	Pull    corev1.PullPolicy // of the image; "": IfNotPresent
	Version string            // of the sidecar, as the pod's annotation tells it
	Ranges  []string          // networks of IPv4 whose addresses are captured when the pod calls them; none, and "*": all
}

const (
	everywhere = "*"
	maxRanges  = 256 // as package capture has it
)

// imageName is what a container runtime takes, roughly: a name in a registry, and a tag or digest.
var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

// Check returns an error unless pods can be injected with these options.
func (o Options) Check() error {
	if !imageName.MatchString(o.Image) {
		return fmt.Errorf("%q is no name of an image", o.Image)
	}
	switch o.Pull {
	case "", corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		return fmt.Errorf("%q is no policy for pulling images: Always, IfNotPresent and Never are", o.Pull)
	}
	if o.Version == "" || len(o.Version) > 200 {
		return errors.New("the version of the sidecar must have 1 to 200 bytes")
	}
	if len(o.Ranges) > maxRanges {
		return fmt.Errorf("%d networks are more than %d: give fewer, larger ones", len(o.Ranges), maxRanges)
	}
	for _, r := range o.Ranges {
		if r == everywhere {
			continue
		}
		network, err := netip.ParsePrefix(r)
		switch {
		case err != nil:
			return fmt.Errorf("%q is no network, such as 10.0.0.0/8", r)
		case !network.Addr().Is4():
			return fmt.Errorf("%s is a network of IPv6, which is not captured", r)
		}
	}
	return nil
}

// ranges returns the networks as the capture is told them; "" for all.
func (o Options) ranges() string {
	if slices.Contains(o.Ranges, everywhere) {
		return ""
	}
	return strings.Join(o.Ranges, ",")
}
