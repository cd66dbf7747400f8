package cli

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/kubecheck"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
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
	explained, problems, err := whyInjected(cmd.Context(), where, namespace, name)
	tell(cmd.ErrOrStderr(), problems)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), explained)
	return err
}

// whyInjected says why a pod of a cluster has a sidecar, or has none, and what is wrong with what is said about it.
func whyInjected(ctx context.Context, where kubeclient.Cluster, namespace, name string) (string, []mesh.Problem, error) {
	objects, err := where.Dynamic()
	if err != nil {
		return "", nil, err
	}
	pod, err := objects.Resource(schema.GroupVersionResource{Version: "v1", Resource: "pods"}).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return "", nil, failed("`kubectl get pods -A` lists them; -n NAMESPACE says where", "%w", err)
	}
	around, err := owners.New(where.Config, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", nil, err
	}
	said, err := around.Around(ctx, namespace, pod.GetOwnerReferences(), false)
	if err != nil {
		return "", nil, err
	}
	client, err := where.Typed()
	if err != nil {
		return "", nil, err
	}
	c, problems, err := kubecheck.Policy(ctx, client)
	if err != nil {
		return "", nil, failed("it takes the right to get this ConfigMap", "%w", err)
	}
	if mesh.HasErrors(problems) {
		return "", problems, failed("mend it: until then what was good last counts, and only the control plane knows that", "which pods get a sidecar cannot be read")
	}
	pod.SetManagedFields(nil)
	text, err := pod.MarshalJSON()
	if err != nil {
		return "", problems, err
	}
	rules := inject.Rules{Config: c, NamespaceLabels: said.NamespaceLabels, Owner: said.Owner}
	explained, more := inject.Explain(rules, text, namespace)
	return fmt.Sprint(explained), append(problems, more...), nil
}
