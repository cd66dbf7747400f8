// Package deploy renders what Lateen is on Kubernetes: the manifests of `lateen install`.
//
// The templates are those of the Helm chart in chart/, which use little of what text/template has, so that Helm and this
// package make the same objects of the same values. What comes in: [Options]. What goes out: YAML documents, the namespace
// and the definitions of kinds first, then in an order in which each finds what it needs.
//
// It promises the same bytes for the same options, and that no option can say more than its own value: each is checked
// before it stands in a template. It asks no cluster.
package deploy

import (
	"bytes"
	"embed"
	"fmt"
	"path"
	"regexp"
	"unicode/utf8"
)

//go:embed chart
var chart embed.FS

// Options are the values of the chart.
type Options struct {
	Hub        string // where the images are, such as "registry.example.com/mesh"; "": the nodes have them
	Tag        string // of the images
	Replicas   int    // of the control plane, 1 to [MaxReplicas]
	MeshConfig string // settings of the mesh, in YAML; "": those of the cluster are left as they are
	NoIngress  bool   // the ingress is left out, and with it its load balancer
}

// Bounds of options.
const (
	MaxReplicas   = 100
	maxMeshConfig = 256 << 10 // bytes
	maxHub        = 200
)

// DefaultReplicas is how many control planes run unless somebody says otherwise. With two, a node that fails or is drained
// leaves one, so that new pods start and rules come into force meanwhile; more are for load alone.
const DefaultReplicas = 2

// The forms of options. values.schema.json of the chart has the same.
var (
	hubForm = regexp.MustCompile(`^([a-z0-9]([a-z0-9._-]*[a-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*)?$`)
	tagForm = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)
)

// Check says what is wrong with the options, or nil.
func (o Options) Check() error {
	switch {
	case len(o.Hub) > maxHub, !hubForm.MatchString(o.Hub):
		return fmt.Errorf("hub: %.70q is not where images are: such as registry.example.com/mesh", o.Hub)
	case !tagForm.MatchString(o.Tag):
		return fmt.Errorf("tag: %.70q is not a tag of an image", o.Tag)
	case o.Replicas < 1 || o.Replicas > MaxReplicas:
		return fmt.Errorf("replicas: %d is not from 1 to %d", o.Replicas, MaxReplicas)
	case len(o.MeshConfig) > maxMeshConfig, !utf8.ValidString(o.MeshConfig):
		return fmt.Errorf("settings of the mesh: more than %d bytes, or no text", maxMeshConfig)
	}
	return nil
}

// order is that of the templates.
func order() []string {
	return []string{"namespace.yaml", "crds.yaml", "access.yaml", "settings.yaml", "service.yaml", "deployment.yaml", "ingress.yaml", "webhooks.yaml"}
}

// values are the options as the templates see them.
func (o Options) values() map[string]any {
	return map[string]any{"Values": map[string]any{
		"hub": o.Hub, "tag": o.Tag, "replicas": o.Replicas, "meshConfig": o.MeshConfig, "namespace": true,
		"ingress": map[string]any{"enabled": !o.NoIngress},
	}}
}

// Manifests returns all objects, as YAML documents.
func Manifests(o Options) ([]byte, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	values := o.values()
	var out bytes.Buffer
	for _, name := range order() {
		text, err := chart.ReadFile(path.Join("chart/templates", name))
		if err != nil {
			return nil, err
		}
		if err := fill(&out, name, string(text), values); err != nil {
			return nil, err
		}
		if !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
			out.WriteByte('\n')
		}
	}
	return bytes.TrimLeft(out.Bytes(), "\n"), nil
}
