package inject

import (
	"flag"
	"io"
	"strings"
	"testing"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/capture"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// TestFlags holds the arguments of the containers against the flags of the programs that run in them.
func TestFlags(t *testing.T) {
	o := options
	o.Ranges, o.Exclude = []string{"10.0.0.0/8", "192.168.0.0/16"}, []string{"10.96.0.0/16"}
	o.Tuning = Tuning{
		PassOutbound: []uint16{25}, SendOutbound: []uint16{443}, Inbound: mesh.Inbound{Take: []uint16{80}, Keep: []uint16{9090}}, LogLevel: "debug", Concurrency: 2,
	}
	for i, parse := range []func(f *flag.FlagSet){
		func(f *flag.FlagSet) { (&capture.Config{}).Flags(f) },
		func(f *flag.FlagSet) { (&agent.Config{}).Flags(f) },
	} {
		c := For(o, nil, 0).InitContainers[i]
		flags := flag.NewFlagSet(c.Args[0], flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		parse(flags)
		args := c.Args[1:]
		for n := range args { // as the kubelet does
			args[n] = strings.ReplaceAll(args[n], "$(POD_IPS)", "10.244.0.5,fd00:244::5")
		}
		if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
			t.Errorf("%s: %v, %v", c.Name, err, flags.Args())
		}
	}
	o.Ranges, o.Exclude = append(o.Ranges, policy.AllNetworks), nil
	if err := o.Check(); err != nil || strings.Contains(strings.Join(For(o, nil, 0).InitContainers[0].Args, " "), "ranges") {
		t.Errorf("%v, %v", err, For(o, nil, 0).InitContainers[0].Args)
	}
}

// TestNames holds the names by which others find a sidecar against those in it.
func TestNames(t *testing.T) {
	s := For(options, []string{"shop"}, 5)
	if s.InitContainers[0].Name != mesh.CaptureContainer || s.InitContainers[1].Name != mesh.ProxyContainer {
		t.Error("the containers are named otherwise")
	}
	if s.Annotations[mesh.StatusAnnotation] != "injected-version-1.2" || s.Annotations[preStopAdded] != "shop" {
		t.Error(s.Annotations)
	}
	projected := s.Volumes[0].Projected.Sources
	if token := projected[0].ServiceAccountToken; token.Audience != mesh.TokenAudience || *token.ExpirationSeconds < 600 {
		t.Error(token)
	}
	if roots := projected[1].ConfigMap; roots.Name != mesh.RootConfigMap || roots.Items[0].Key != mesh.RootKey || roots.Optional != nil {
		t.Error(roots)
	}
	for _, c := range s.InitContainers {
		security := c.SecurityContext
		if *security.AllowPrivilegeEscalation || *security.Privileged || !*security.ReadOnlyRootFilesystem || security.Capabilities.Drop[0] != "ALL" {
			t.Errorf("%s may do too much: %v", c.Name, security)
		}
	}
	if proxy := s.InitContainers[1].SecurityContext; !*proxy.RunAsNonRoot || *proxy.RunAsUser != mesh.ProxyUser || proxy.Capabilities.Add != nil {
		t.Error("the proxy may do too much")
	}
}
