package meshconfig

import (
	"fmt"
	"strings"
)

// Field says what becomes of one field of the settings.
type Field struct {
	Name    string // "authPolicy", "defaultConfig.drainDuration"
	Was     string // what it was where nothing was said, in Istio 0.2 and 0.3; "": a field of Lateen's own
	InForce bool   // it does something today
	Says    string // what it does, or what there is in its place
}

const (
	noMixer   = "Nothing. There is no Mixer that could be asked: policy and telemetry are in the proxies themselves"
	inPod     = "Nothing. The proxy's container has it from the image; `lateen inject` writes no path"
	noRefresh = "Nothing. Nobody polls: changes are pushed to proxies as they come"
	frozen    = "Nothing. Settings do not reach into pods that run: "
)

// Fields returns all fields, in the order of the documents of old, Lateen's own behind.
func Fields() []Field {
	return []Field{
		{"egressProxyAddress", `"" (0.2: istio-egress:80)`, false, "Nothing. Sidecars call hosts outside the mesh themselves, as EgressRules say"},
		{"mixerAddress", `""`, false, noMixer},
		{"disablePolicyChecks", "false", false, noMixer},
		{"proxyListenPort", "15001", false, "Nothing. Outbound traffic is captured at 15001, inbound at 15006"},
		{"proxyHttpPort", "0", false, "Nothing. Captured traffic needs no `HTTP_PROXY`; on one machine every sidecar is one, at 15001"},
		{"connectTimeout", "1s", true, "For how long a proxy waits for a connection to an endpoint: 1ms to 30s, in whole milliseconds. Not said: 1s"},
		{"ingressClass", "istio", true, "The value of the annotation `kubernetes.io/ingress.class` by which Ingress objects are for the door, beside `lateen` and the names of " +
			"IngressClasses whose controller is `lateen.dev/ingress-controller`. Not said: `istio`"},
		{"ingressService", `"" (istio-ingress)`, true, "The Service in `lateen-system` whose load balancer's addresses are written into the status of Ingress objects. " +
			"Not said, and for `istio-ingress`: `lateen-ingress`"},
		{"ingressControllerMode", "STRICT", true, "Which Ingress objects are for the door: `STRICT`, those that name one of Lateen's classes; `DEFAULT`, those without a class too; `OFF`, none. " +
			"Not said: `STRICT` in a cluster, elsewhere `DEFAULT`"},
		{"authPolicy", "NONE", true, "How callers prove who they are, for ports that say nothing: `NONE`, `PERMISSIVE`, `MUTUAL_TLS`. Not said: `PERMISSIVE`, not `NONE`: " +
			"mutual TLS where both sides can, plain text from others"},
		{"rdsRefreshDelay", "1s", false, noRefresh},
		{"enableTracing", "true", false, "Nothing yet. Proxies pass tracing headers on and report no spans"},
		{"accessLogFile", "/dev/stdout", true, "`\"\"`: proxies write no access log. Anything else: they write it to their standard output"},
		{"mtlsExcludedServices", "none (0.3)", true, "Services that are called in plain text whatever the policies say, by their whole names or as NAME.NAMESPACE. Their servers take both"},
		{"defaultConfig.configPath", "/etc/istio/proxy", false, inPod},
		{"defaultConfig.binaryPath", "/usr/local/bin/envoy", false, inPod},
		{"defaultConfig.serviceCluster", "istio-proxy", false, "Nothing. A proxy is known by its pod and its account"},
		{"defaultConfig.drainDuration", "2s", false, frozen + "a proxy drains until its connections have ended, for as long as `terminationGracePeriodSeconds` of the pod lets it"},
		{"defaultConfig.parentShutdownDuration", "3s", false, "Nothing. Envoy is not started again beside itself when certificates change: it gets them by SDS"},
		{"defaultConfig.discoveryAddress", "istio-pilot:8080 (0.3: istio-pilot:15003)", false, "Nothing. Agents find Lateen at `lateen.lateen-system.svc:15012`"},
		{"defaultConfig.discoveryRefreshDelay", "1s", false, noRefresh},
		{"defaultConfig.zipkinAddress", `""`, false, "Nothing yet. See `enableTracing`"},
		{"defaultConfig.connectTimeout", "1s", false, "Nothing. It was for connections to Pilot and Mixer; `connectTimeout` is for those between services"},
		{"defaultConfig.statsdUdpAddress", `""`, false, "Nothing. Prometheus reads the metrics of the agent at 15020"},
		{"defaultConfig.proxyAdminPort", "15000", false, "Nothing. Envoy's administration is a Unix socket of its agent; `lateen config` reads it"},
		{"defaultConfig.availabilityZone", `""`, false, "Nothing. The zone is that of the node's labels"},
		{"defaultConfig.controlPlaneAuthPolicy", "NONE (0.3)", false, "Nothing. Connections of proxies to Lateen are mutual TLS; `lateen serve --plain-xds` is for proxies without an identity"},
		{"defaultConfig.customConfigFile", `"" (0.3)`, false, "Nothing. Agents write what an Envoy starts with"},
		{"defaultConfig.statNameLength", "189 (0.3)", false, "Nothing. Envoy has no bound for the names of its statistics any more"},
		{"dnsResolvers", "", true, "List of `IP` or `IP:PORT`, asked for hosts outside the mesh. Not said: the resolvers of the proxy's system"},
		{"caBundle", "", true, "Whole path, in the container of each proxy, of a PEM file with the authorities that hosts outside the mesh are checked against"},
		{"serviceRanges", "", true, "List of networks, such as `10.96.0.0/12`, that the addresses of services are from. Not said: found out; with `--app-namespace` they are the addresses of the services that are known"},
		{"outboundTrafficPolicy.mode", "", true, "`ALLOW_ANY`: what captured pods send to destinations that the mesh does not know passes. `REGISTRY_ONLY`: only what an EgressRule names; other requests are answered with the EgressRule that would help, other connections closed. Not said: ALLOW_ANY"},
		{"ingressProxyProtocol", "", true, "`true`: each connection to the ingress begins with the address of its client, in the PROXY protocol (version 1 or 2), as a load balancer " +
			"writes it; one that does not is closed. Not said: `false`"},
	}
}

// Page returns the reference of the settings, in Markdown.
func Page() string {
	var b strings.Builder
	b.WriteString(`# Mesh settings

This file is generated from the program: ` + "`make generate`" + ` writes it.

On Kubernetes the settings of the mesh are the value of the key ` + "`mesh`" + ` of the ConfigMap ` + "`lateen-system/lateen`" + `: YAML with the fields of
MeshConfig and, below ` + "`defaultConfig`" + `, of ProxyConfig, as Istio 0.2 and 0.3 had them. ` + "`lateen serve --meshConfig FILE`" + ` reads them from a file.
They are read as soon as they change. Names may be written in snake_case too, words by their numbers.

Every field is accepted and checked; most that Istio had have no meaning any more, and are told here and nowhere else. A document with a
mistake (an unknown field, a value out of its bounds) is not used at all: what was good last stays in force, and the mistake is a
[problem](problems.md), with its line in the value: ` + "`ConfigMap lateen-system/lateen, mesh:7:3`" + `. If the first document that a control plane
reads has one, what the control plane before it had in force counts, and without that the control plane is not ready until it is mended.
Without a ConfigMap, or without the key, the settings are those of a document that says nothing.

Mesh files have [settings of their own](interfaces.md#mesh).

| Field | Istio's default | Today |
|---|---|---|
`)
	for _, f := range Fields() {
		was := "–"
		if f.Was != "" {
			was = "`" + strings.ReplaceAll(f.Was, " (", "` (") + "`"
			if strings.Contains(f.Was, " (") {
				was = strings.TrimSuffix(was, "`")
			}
		}
		name := "`" + f.Name + "`"
		if f.InForce {
			name = "**" + name + "**"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", name, was, f.Says)
	}
	return b.String()
}
