package inject

import (
	"maps"
	"slices"
	"strings"
)

// kind is a kind of object that has pods.
type kind struct {
	template []string // keys that lead to the pod template; none in a Pod, which is one itself
	versions []string // apiVersions there have been, today's first
	selector bool     // whether today's needs spec.selector
}

// has tells whether the kind has been in an apiVersion.
func (k kind) has(version string) bool { return slices.Contains(k.versions, version) }

// kinds are all that have pods.
var kinds = map[string]kind{
	"Deployment": {
		template: []string{"spec", "template"}, selector: true,
		versions: []string{"apps/v1", "apps/v1beta2", "apps/v1beta1", "extensions/v1beta1"},
	},
	"DaemonSet": {
		template: []string{"spec", "template"}, selector: true,
		versions: []string{"apps/v1", "apps/v1beta2", "extensions/v1beta1"},
	},
	"ReplicaSet": {
		template: []string{"spec", "template"}, selector: true,
		versions: []string{"apps/v1", "apps/v1beta2", "extensions/v1beta1"},
	},
	"StatefulSet": {
		template: []string{"spec", "template"}, selector: true,
		versions: []string{"apps/v1", "apps/v1beta2", "apps/v1beta1"},
	},
	"Job": {
		template: []string{"spec", "template"},
		versions: []string{"batch/v1", "batch/v2alpha1", "extensions/v1beta1"},
	},
	"CronJob": {
		template: []string{"spec", "jobTemplate", "spec", "template"},
		versions: []string{"batch/v1", "batch/v1beta1", "batch/v2alpha1"},
	},
	"ReplicationController": {template: []string{"spec", "template"}, versions: []string{"v1"}},
	"Pod":                   {versions: []string{"v1"}},
}

// isList tells whether an object is a List of others, or one that holds objects of a kind that has pods.
func isList(version, kind string) bool {
	if kind == "List" {
		return version == "v1"
	}
	item, ok := strings.CutSuffix(kind, "List")
	return ok && kinds[item].has(version)
}

// Supported names the kinds whose pods get a sidecar, each with the apiVersions that are known: "Deployment (apps/v1, …)".
func Supported() []string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(kinds)) {
		all = append(all, name+" ("+strings.Join(kinds[name].versions, ", ")+")")
	}
	return all
}
