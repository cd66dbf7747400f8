package bugreport

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// annotations are the beginnings of the keys whose values are shown: what steers Lateen, or says who made something. Others may hold
// anything, the last applied form of an object the whole of it.
var annotations = []string{
	"sidecar.istio.io/", "traffic.sidecar.istio.io/", "auth.istio.io/", "alpha.istio.io/", "lateen.dev/", "kubernetes.io/ingress.class",
	"prometheus.io/", "deployment.kubernetes.io/revision", "kubectl.kubernetes.io/restartedAt", "meta.helm.sh/", "leader",
}

// configMaps are those whose data is shown: they are Lateen's.
var configMaps = []string{mesh.SystemName, mesh.InjectConfigMap, mesh.RootConfigMap, "lateen-stances"}

// containersIn returns the names of Lateen's own containers in a namespace. Of others it is shown that they are there.
func (r *Redactor) containersIn(namespace any) []string {
	own := []string{mesh.ProxyContainer, mesh.CaptureContainer}
	if namespace == r.System {
		own = append(own, mesh.SystemName)
	}
	return own
}

// Object leaves of an object of Kubernetes what a report needs: no environment, no application's command, no data of others' ConfigMaps,
// and of a Secret its name only. It changes the object.
func (r *Redactor) Object(o map[string]any) map[string]any {
	meta, _ := o["metadata"].(map[string]any)
	delete(meta, "managedFields")
	bare(meta)
	kind, _ := o["kind"].(string)
	name, _ := meta["name"].(string)
	switch {
	case kind == "Secret":
		return map[string]any{"kind": kind, "metadata": map[string]any{"name": name, "namespace": meta["namespace"]}}
	case kind == "ConfigMap" && !slices.Contains(configMaps, name):
		o["data"] = names(o["data"])
		delete(o, "binaryData")
	case kind == "ConfigMap":
		documents(o["data"])
	}
	strip(o, r.containersIn(meta["namespace"]))
	shown, _ := r.tree(o, false).(map[string]any)
	return shown
}

// bare leaves the annotations that are shown.
func bare(meta map[string]any) {
	all, _ := meta["annotations"].(map[string]any)
	for key := range all {
		if !slices.ContainsFunc(annotations, func(begin string) bool { return strings.HasPrefix(key, begin) }) {
			all[key] = NotShown
		}
	}
}

// names puts a word in the place of every value.
func names(data any) any {
	all, _ := data.(map[string]any)
	for key := range all {
		all[key] = NotShown
	}
	return all
}

// documents takes secrets out of YAML in texts. What is not YAML is not shown.
func documents(data any) {
	all, _ := data.(map[string]any)
	for key, value := range all {
		if s, ok := value.(string); ok && key != mesh.RootKey {
			all[key] = document(s)
		}
	}
}

// document takes secrets out of YAML. Where there are none it stays as it is, so that lines are those that a problem names.
func document(text string) string {
	var node yaml.Node
	if err := yaml.Unmarshal([]byte(text), &node); err != nil {
		return NotShown
	}
	if !hideScalars(&node, false, map[*yaml.Node]bool{}) {
		return text
	}
	shown, err := yaml.Marshal(&node)
	if err != nil {
		return NotShown
	}
	return string(shown)
}

// hideScalars hides what stands below names of secrets, and tells whether there was such a thing.
func hideScalars(n *yaml.Node, secret bool, seen map[*yaml.Node]bool) (hidden bool) {
	if n == nil || seen[n] {
		return false
	}
	seen[n] = true
	if n.Kind == yaml.ScalarNode && secret && n.Value != "" {
		n.Tag, n.Style, n.Value = "!!str", 0, NotShown
		return true
	}
	hidden = hideScalars(n.Alias, secret, seen)
	for i, child := range n.Content {
		under := secret || n.Kind == yaml.MappingNode && i%2 == 1 && isCredential(n.Content[i-1].Value)
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			continue // a key
		}
		hidden = hideScalars(child, under, seen) || hidden
	}
	return hidden
}

// strip goes through an object and takes out what containers are given and say.
func strip(value any, own []string) {
	switch v := value.(type) {
	case map[string]any:
		template(v)
		for key, child := range v {
			list, _ := child.([]any)
			switch key {
			case "containers", "initContainers", "ephemeralContainers":
				v[key] = each(list, func(c map[string]any) map[string]any { return container(c, own) })
			case "volumes":
				v[key] = each(list, volume)
			case "containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses":
				v[key] = each(list, func(c map[string]any) map[string]any { return status(c, own) })
			}
			strip(v[key], own)
		}
	case []any:
		for _, child := range v {
			strip(child, own)
		}
	}
}

// template leaves of a template's metadata what is left of an object's.
func template(v map[string]any) {
	if meta, ok := v["metadata"].(map[string]any); ok {
		bare(meta)
	}
}

func each(list []any, change func(map[string]any) map[string]any) []any {
	for i := range list {
		if m, ok := list[i].(map[string]any); ok {
			list[i] = change(m)
		}
	}
	return list
}

// isOurs tells whether a container, or its status, is one of Lateen's.
func isOurs(c map[string]any, own []string) bool {
	name, _ := c["name"].(string)
	return slices.Contains(own, name)
}

// container leaves of one that is not Lateen's what it listens on and what it runs, and of every one no value of its environment, nor of
// headers of its probes.
func container(c map[string]any, own []string) map[string]any {
	if !isOurs(c, own) {
		shown := map[string]any{}
		for _, key := range []string{"name", "image", "imagePullPolicy", "ports", "resources", "restartPolicy"} {
			if value, ok := c[key]; ok {
				shown[key] = value
			}
		}
		return shown
	}
	hideValues(c)
	return c
}

// volume leaves of one that is not Lateen's its name and what it is of: drivers are told secrets in places of their own.
func volume(v map[string]any) map[string]any {
	name, _ := v["name"].(string)
	if strings.HasPrefix(name, mesh.SystemName) {
		return v
	}
	for key := range v {
		if key != "name" {
			v[key] = map[string]any{}
		}
	}
	return v
}

// hideValues hides values of pairs, at any depth.
func hideValues(value any) {
	switch v := value.(type) {
	case map[string]any:
		for key, child := range v {
			if list, ok := child.([]any); ok && (key == "env" || key == "httpHeaders") {
				each(list, hideValue)
			}
			hideValues(child)
		}
	case []any:
		for _, child := range v {
			hideValues(child)
		}
	}
}

func hideValue(pair map[string]any) map[string]any {
	if _, ok := pair["value"]; ok {
		pair["value"] = NotShown
	}
	return pair
}

// status leaves out what a container that is not Lateen's said when it ended: these are its own words.
func status(c map[string]any, own []string) map[string]any {
	if isOurs(c, own) {
		return c
	}
	for _, key := range []string{"state", "lastState"} {
		states, _ := c[key].(map[string]any)
		for _, s := range states {
			if said, ok := s.(map[string]any); ok && said["message"] != nil {
				said["message"] = NotShown
			}
		}
	}
	return c
}
