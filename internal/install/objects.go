package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
)

type resource = schema.GroupVersionResource

// definitionKind is the kind of what tells a cluster of our kinds.
const definitionKind = "CustomResourceDefinition"

// resources are the plurals of the kinds that are installed.
func resources() map[string]string {
	return map[string]string{
		"Namespace": "namespaces", definitionKind: "customresourcedefinitions", "ServiceAccount": "serviceaccounts",
		"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
		"ConfigMap": "configmaps", "Service": "services", "PodDisruptionBudget": "poddisruptionbudgets", "Deployment": "deployments",
		"IngressClass":                 "ingressclasses",
		"MutatingWebhookConfiguration": "mutatingwebhookconfigurations", "ValidatingWebhookConfiguration": "validatingwebhookconfigurations",
	}
}

// read returns the objects in manifests, in their order.
func read(manifests []byte) ([]object, error) {
	plurals := resources()
	var all []object
	for reader := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), 4096); ; {
		o := object{Unstructured: &unstructured.Unstructured{}}
		if err := reader.Decode(&o.Object); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("read the manifests: %w", err)
		}
		if o.Object == nil {
			continue
		}
		kind := o.GroupVersionKind()
		plural, ok := plurals[kind.Kind]
		if !ok {
			return nil, fmt.Errorf("read the manifests: the kind %s is none that is installed", kind.Kind)
		}
		o.resource = kind.GroupVersion().WithResource(plural)
		all = append(all, o)
	}
}

// name returns what messages call the object.
func (o object) name() string { return named(o.GetKind(), o.GetNamespace(), o.GetName()) }

func named(kind, namespace, name string) string {
	kind = strings.ToLower(kind)
	if namespace == "" {
		return kind + " " + name
	}
	return kind + " " + namespace + "/" + name
}
