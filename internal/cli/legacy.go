package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// legacyFlag is a flag of one of Istio's programs. Scripts that give it still work.
type legacyFlag struct {
	name, short string
	alone       bool   // takes no value
	is          string // the flag of ours that it means; "": none
	say         string // what there is in its place, said when it is given; "": it has its meaning
}

const (
	sayNoLog   = "commands keep no log; `lateen serve --log-level` sets that of the control plane"
	sayLog     = "the log goes to standard error; --log-level says how much is told"
	sayAgent   = "the log goes to standard error"
	sayWebhook = "the control plane tells the API server itself where its webhooks are, and makes their certificate: see --webhook-address"
	sayConsul  = "there is no such registry yet"
	sayPushed  = "changes are pushed as they come, and nothing is asked for again and again"
	saySocket  = "Envoy's administration is a Unix socket below --dir, which `lateen config` reads"

	legacyAnnotation = "legacy" // of a flag: what to say when it is given
	meansAnnotation  = "means"  // of a flag: the flag that it means
)

// glog are the flags of the library by which all of Istio's programs wrote their logs.
func glog(say string) []legacyFlag {
	return []legacyFlag{
		{name: "v", short: "v", say: say},
		{name: "vmodule", say: say},
		{name: "logtostderr", say: say, alone: true},
		{name: "alsologtostderr", say: say, alone: true},
		{name: "stderrthreshold", say: say},
		{name: "log_dir", say: say},
		{name: "log_backtrace_at", say: say},
	}
}

// istioctlFlags are those of istioctl.
func istioctlFlags() []legacyFlag {
	return append([]legacyFlag{
		{name: "platform", short: "p", say: "objects go to the cluster that --context names, or to the mesh on this machine"},
	}, glog(sayNoLog)...)
}

// kubeInjectFlags are those of `istioctl kube-inject`.
func kubeInjectFlags() []legacyFlag {
	return append([]legacyFlag{
		{name: "platform", short: "p", say: "no cluster is asked"},
		{name: "istioNamespace", short: "i", say: "sidecars find Lateen in namespace " + mesh.SystemNamespace},
		{name: "meshConfigMapName", say: "the control plane reads the mesh settings, from ConfigMap " + mesh.SystemName + " in " + mesh.SystemNamespace},
		{name: "verbosity", say: "`kubectl logs POD -c " + mesh.ProxyContainer + "` shows what the proxy tells"},
		{name: "sidecarProxyUID", say: fmt.Sprintf("the proxy's user is %d", mesh.ProxyUser)},
		{name: "coreDump", alone: true, say: "a sidecar may not change its node, which says what becomes of core dumps"},
		{name: "debug", alone: true, say: "there is one image, without privileges; `lateen config` shows what a proxy has"},
	}, glog("commands keep no log")...)
}

// discoveryFlags are those of `pilot-discovery discovery`.
func discoveryFlags() []legacyFlag {
	return append([]legacyFlag{
		{name: "resync", say: sayPushed},
		{name: "port", say: "proxies are answered at --secure-address over xDS, health and metrics are at --admin-port"},
		{name: "profile", alone: true, say: "profiles are below /debug/pprof of --admin-port, for who has the token"},
		{name: "discovery_cache", alone: true, say: "what was made for a proxy is always kept, until something changes that it was made from; /cache_stats counts"},
		{name: "consulconfig", say: sayConsul},
		{name: "consulserverURL", say: sayConsul},
		{name: "eurekaserverURL", say: sayConsul},
		{name: "admission-webhook-name", say: sayWebhook},
		{name: "admission-service", say: sayWebhook},
		{name: "admission-service-port", say: sayWebhook},
		{name: "admission-secret", say: sayWebhook},
		{name: "admission-registration-delay", say: sayWebhook},
	}, glog(sayLog)...)
}

// agentFlags are those of `pilot-agent proxy`.
func agentFlags() []legacyFlag {
	return append([]legacyFlag{
		{name: "ip", is: "address"},
		{name: "id", is: "node"},
		{name: "discoveryAddress", is: "control-plane"},
		{name: "binaryPath", is: "envoy"},
		{name: "configPath", is: "dir"},
		{name: "drainDuration", is: "drain-time"},
		{name: "customConfigFile", is: "bootstrap"},
		{name: "serviceregistry", say: "the control plane knows the registries"},
		{name: "domain", say: "the control plane says which domain the services have"},
		{name: "serviceCluster", say: "a proxy is known by its --node and its identity"},
		{name: "availabilityZone", say: "the control plane knows the zone from the node"},
		{name: "parentShutdownDuration", say: "Envoy is not started again beside itself when certificates change"},
		{name: "discoveryRefreshDelay", say: sayPushed},
		{name: "zipkinAddress", say: "proxies report no spans yet"},
		{name: "connectTimeout", say: "the mesh settings have connectTimeout, for all proxies"},
		{name: "statsdUdpAddress", say: "Prometheus reads the metrics at --health-address"},
		{name: "proxyAdminPort", say: saySocket},
		{name: "controlPlaneAuthPolicy", say: "connections to the control plane are mutual TLS, but with --plain-xds"},
	}, glog(sayAgent)...)
}

// addLegacy lets a command take flags of old, but for those that it has itself.
func addLegacy(cmd *cobra.Command, all []legacyFlag) *cobra.Command {
	flags := cmd.Flags()
	for _, l := range all {
		if flags.Lookup(l.name) != nil {
			continue
		}
		short := l.short
		if flags.ShorthandLookup(short) != nil {
			short = ""
		}
		if l.alone {
			flags.BoolP(l.name, short, false, "")
		} else {
			flags.StringP(l.name, short, "", "")
		}
		f := flags.Lookup(l.name)
		f.Hidden, f.Annotations = true, map[string][]string{legacyAnnotation: {l.say}, meansAnnotation: {l.is}}
	}
	return cmd
}

// takeLegacy gives flags of old their meaning, and tells which have none.
func takeLegacy(cmd *cobra.Command, _ []string) error {
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		say, is := f.Annotations[legacyAnnotation], f.Annotations[meansAnnotation]
		switch {
		case len(say) == 0 || err != nil:
		case is[0] == "":
			fmt.Fprintf(cmd.ErrOrStderr(), "lateen: warning: --%s has no effect: %s\n", f.Name, say[0])
		case cmd.Flags().Changed(is[0]):
			err = misused("leave out one of them", "--%s is --%s, and both are given", f.Name, is[0])
		default:
			if failed := cmd.Flags().Set(is[0], f.Value.String()); failed != nil {
				err = misused("`"+cmd.CommandPath()+" --help` lists the flags", "--%s: %w", f.Name, failed)
			}
		}
	})
	return err
}

// legacyPage lists the flags of Istio's programs, with what became of them, in Markdown. Commands are those of the tree at root.
func legacyPage(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("# Flags of Istio's programs\n\nThis file is generated from the program: `make generate` writes it.\n\n" +
		"The flags that istioctl, pilot-discovery and pilot-agent had in Istio 0.2 and 0.3 are accepted. What has no effect any more is a warning\n" +
		"that names what there is in its place.\n")
	for _, program := range []struct {
		title, command string
		own            []string // that the command has itself, by the same name
		flags          []legacyFlag
	}{
		{"istioctl", "get", []string{"kubeconfig", "istioNamespace", "namespace"}, istioctlFlags()},
		{
			"istioctl kube-inject", "inject",
			[]string{"filename", "output", "kubeconfig", "hub", "tag", "setVersionString", "imagePullPolicy", "includeIPRanges"},
			kubeInjectFlags(),
		},
		{"pilot-discovery discovery", "serve", []string{"registries", "kubeconfig", "meshConfig", "namespace", "appNamespace", "domain"}, discoveryFlags()},
		{"pilot-agent proxy", "agent", nil, agentFlags()},
	} {
		cmd, _, err := root.Find([]string{program.command})
		if err != nil {
			continue
		}
		here := "`lateen " + program.command + "`"
		if program.command == "get" {
			here = "the commands for objects"
		}
		fmt.Fprintf(&b, "\n## %s\n\nAccepted by %s.\n\n| Flag | What it means |\n|---|---|\n", program.title, here)
		for _, name := range program.own {
			if f := findFlag(cmd, name); f != nil && !f.Hidden {
				fmt.Fprintf(&b, "| `--%s` | %s |\n", name, strings.ReplaceAll(f.Usage, "|", `\|`))
			}
		}
		for _, l := range program.flags {
			f := findFlag(cmd, l.name)
			switch {
			case f == nil:
			case f.Annotations == nil:
				fmt.Fprintf(&b, "| `--%s` | %s |\n", l.name, strings.ReplaceAll(f.Usage, "|", `\|`))
			case l.is != "":
				fmt.Fprintf(&b, "| `--%s` | the same as `--%s` |\n", l.name, l.is)
			default:
				fmt.Fprintf(&b, "| `--%s` | no effect: %s |\n", l.name, l.say)
			}
		}
	}
	return b.String()
}

func findFlag(cmd *cobra.Command, name string) *pflag.Flag {
	for _, flags := range []*pflag.FlagSet{cmd.Flags(), cmd.InheritedFlags()} {
		if f := flags.Lookup(name); f != nil {
			return f
		}
	}
	return nil
}
