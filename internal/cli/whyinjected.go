package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// explain says why a pod of a cluster has a sidecar, or has none.
func (i *injecting) explain(cmd *cobra.Command) error {
	if len(i.files) > 0 || i.uninject || i.output != "" {
		return misused("for instance: lateen inject --explain reviews-v1-5d8f -n shop", "--explain is about a pod that runs, and goes with no files")
	}
	where, err := i.mesh.clusterOnly()
	if err != nil {
		return err
	}
	namespace, name := cmp.Or(i.namespace, where.Namespace), i.pod
	if before, after, ok := strings.Cut(i.pod, "/"); ok {
		namespace, name = before, after
	}
	objects, err := where.Dynamic()
	if err != nil {
		return err
	}
	pod, err := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace).Get(cmd.Context(), name, metav1.GetOptions{})
	if err != nil {
		return failed("`kubectl get pods -A` lists them; -n NAMESPACE says where", "%w", err)
	}
	around, err := owners.New(where.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	said, err := around.Around(cmd.Context(), namespace, pod.GetOwnerReferences())
	if err != nil {
		return err
	}
	c, err := policyNow(cmd.Context(), where, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	pod.SetManagedFields(nil)
	text, err := pod.MarshalJSON()
	if err != nil {
		return err
	}
	rules := inject.Rules{Config: c, NamespaceLabels: said.NamespaceLabels, Owner: said.Owner}
	explained, problems := inject.Explain(rules, text, namespace)
	tell(cmd.ErrOrStderr(), problems)
	_, err = fmt.Fprintln(cmd.OutOrStdout(), explained)
	return err
}

// policyNow returns which pods of a cluster get a sidecar. What is wrong with the document that says so is told.
func policyNow(ctx context.Context, where kubeclient.Cluster, stderr io.Writer) (policy.Config, error) {
	client, err := where.Typed()
	if err != nil {
		return policy.Config{}, err
	}
	object := mesh.Ref{Kind: "ConfigMap", Namespace: mesh.SystemNamespace, Name: mesh.InjectConfigMap}
	there, err := client.CoreV1().ConfigMaps(object.Namespace).Get(ctx, object.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return webhook.Unsaid(), nil
	case err != nil:
		return policy.Config{}, failed("it takes the right to get this ConfigMap", "%w", err)
	}
	text, found := there.Data[mesh.InjectKey]
	if !found {
		return webhook.Unsaid(), nil
	}
	c, problems := policy.Read(policy.Document{Name: object.String() + ", " + mesh.InjectKey, Object: object, Text: []byte(text)})
	tell(stderr, problems)
	if mesh.HasErrors(problems) {
		return webhook.Unsaid(), failed("mend it: until then what was good last counts, and only the control plane knows that", "%s is broken", object)
	}
	return c, nil
}
