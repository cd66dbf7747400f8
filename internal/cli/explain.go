package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/view"
)

func newExplainCommand(m *meshFlags) *cobra.Command {
	var stage, namespace string
	var q question
	cmd := &cobra.Command{
		Use:   "explain PROXY [METHOD] URL | PROXY HOST:PORT | PROXY KIND NAME",
		Short: "Show what a proxy does with a request and why, or how its configuration comes about",
		Long: `With a URL, show what a proxy does with a request: which route decides, why each other one does not, and what
may happen with which share.

Without one, show what one resource of one proxy is made of: what was cut from the mesh for it (view), what the
proxy must do (plan), and that in Envoy's words (envoy). A resource is a host as the workload calls it,
or a kind (cluster, endpoints, listener, routes, virtual-host) and a name as in the proxy's own dump.

` + proxyNames,
		Example: "  lateen explain productpage-v1-0 GET http://reviews:9080/reviews/0 -H 'cookie: user=jason'\n" +
			"  lateen explain productpage-v1-0 reviews:9080\n  lateen explain ingress routes ingress --stage envoy",
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 && len(args) != 3 {
				return misused("for instance: lateen explain productpage-v1-0 reviews:9080", "name a proxy, and a URL or a host")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			name, err := inNamespace(args[0], namespace)
			if err != nil {
				return err
			}
			t, err := m.find(cmd.Context())
			if err != nil {
				return err
			}
			if isRequest(args[1:]) {
				return q.ask(cmd, t, mesh.ProxyID(name), args[1:])
			}
			resource := view.VirtualHostOf(args[1])
			if len(args) == 3 {
				resource = view.ID{Kind: view.Kind(args[1]), Name: args[2]}
			}
			text, err := t.client.Explain(cmd.Context(), api.Explain{
				Proxy: mesh.ProxyID(name), Resource: resource.String(), Stage: stage,
			})
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			return err
		},
	}
	q.addTo(cmd.Flags())
	cmd.Flags().StringVar(&stage, "stage", "plan", "of a resource: view, plan or envoy")
	addProxyNamespace(cmd.Flags(), &namespace)
	return cmd
}
