package policy

import "strconv"

// Field says what becomes of one field of a document.
type Field struct {
	Name    string // "policy", "params.proxyImage"
	Was     string // what held where nothing was said, in Istio 0.2 and 0.3
	InForce bool   // it does something today
	Says    string // what it does, or what there is in its place
}

// Fields returns all fields, in the order of the document of old.
func Fields() []Field {
	const none = "Nothing. "
	return []Field{
		{"policy", "enabled", true, "What becomes of pods of which neither they nor their namespace say anything: `enabled` or `disabled`. Another word is a problem; in 2017 it meant `enabled`"},
		{"namespaces", `[""]`, true, "Namespaces whose pods may get a sidecar; `\"\"` is all of them. An empty list is none"},
		{"excludeNamespaces", "none", true, "Namespaces whose pods get none. Not together with `namespaces`"},
		{"initializerName", "sidecar.initializer.istio.io", false, none + "Kubernetes has no initializers any more; a webhook does what they did, with a name of its own"},
		{"params.initImage", "docker.io/istio/proxy_init:VERSION", false, none + "One image is for both containers: `proxyImage`"},
		{"params.proxyImage", "docker.io/istio/proxy:VERSION", true, "The sidecar's image. Not said, or one of Istio's (`proxy`, `proxy_debug`): that of this version of Lateen"},
		{"params.verbosity", "0", false, none + "`kubectl logs POD -c lateen-proxy` shows what the proxy tells"},
		{"params.sidecarProxyUID", "1337", false, none + "The proxy's user is 1337"},
		{"params.version", `""`, true, "What the annotation `sidecar.istio.io/status` has behind `injected-version-`, " + strconv.Itoa(MaxVersion) + " bytes at most. Not said: the version of Lateen"},
		{"params.enableCoreDump", "false", false, none + "A sidecar may not change its node, which says what becomes of core dumps"},
		{"params.debugMode", "false", false, none + "There is one image, and no sidecar is privileged"},
		{"params.imagePullPolicy", "IfNotPresent", true, "When nodes pull the image: `Always`, `IfNotPresent` or `Never`. Another word is a problem; in 2017 it meant `IfNotPresent`"},
		{"params.includeIPRanges", `""`, true, "Networks, with commas, whose addresses go through the proxy when a pod calls them. Not said: all"},
		{"params.meshConfigMapName", `""`, false, none + "The control plane reads the mesh settings, from ConfigMap `lateen` in `lateen-system`"},
	}
}
