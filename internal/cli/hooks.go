package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"

	"github.com/spf13/pflag"
	"golang.org/x/sync/errgroup"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kuberest "k8s.io/client-go/rest"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/inject/policy"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/owners"
	"github.com/lateen-mesh/lateen/internal/serve"
	"github.com/lateen-mesh/lateen/internal/source/kube"
	"github.com/lateen-mesh/lateen/internal/webhook"
)

// hookFlags say where the API server of a cluster finds the control plane's webhooks, and what they inject.
type hookFlags struct{ address, image, pull string }

func (h *hookFlags) addTo(flags *pflag.FlagSet) {
	flags.StringVar(&h.address, "webhook-address", "", "`HOST:PORT` where the API server of --registries=Kubernetes asks what becomes of pods and objects (default: it does not ask)")
	flags.StringVar(&h.image, "proxy-image", "", "image of the sidecars that pods get (default: lateen-proxy of the version of this program)")
	flags.StringVar(&h.pull, "proxy-pull", string(corev1.PullIfNotPresent), "when nodes pull it: Always, IfNotPresent or Never")
}

// options returns what is injected where the policy does not say otherwise.
func (h *hookFlags) options() inject.Options {
	return inject.Options{Image: cmp.Or(h.image, image("", "", "lateen-proxy")), Pull: corev1.PullPolicy(h.pull), Version: version}
}

// hooks are the webhooks of a control plane. As a source they hand the store nothing but what is wrong with the policy.
type hooks struct {
	server *webhook.Server
	owners *owners.Owners
	policy func(context.Context, serve.SettingsSink) error
	sink   func(ctx context.Context, problems []mesh.Problem) error
}

// hooksSource is the name under which they report.
const hooksSource = "injection"

// listen makes the webhooks of a control plane. Plane returns it, once it is made.
func (h *hookFlags) listen(ctx context.Context, c *kubeclient.Cluster, plane func() *serve.Plane, log *slog.Logger) (*hooks, error) {
	o := h.options()
	if err := o.Check(); err != nil {
		return nil, misused("", "--proxy-image, --proxy-pull: %w", err)
	}
	free := kuberest.CopyConfig(c.Config)
	free.QPS = -1 // as many reviews are answered at once as the server takes
	around, err := owners.New(free, log)
	if err != nil {
		return nil, err
	}
	listener, err := listenFor(ctx, h.address, "--webhook-address")
	if err != nil {
		return nil, err
	}
	return &hooks{server: webhook.New(h.config(listener, plane, around, o, log)), owners: around, policy: policyIn(c, log)}, nil
}

func (h *hookFlags) config(l net.Listener, plane func() *serve.Plane, around webhook.Around, o inject.Options, log *slog.Logger) webhook.Config {
	kinds := serve.Kinds()
	return webhook.Config{
		Listener: l, TLS: func() *tls.Config { return plane().PublicTLS() }, Around: around, Options: o, Kinds: kinds, Log: log,
		Check: func(u *unstructured.Unstructured) []mesh.Problem { return kube.Check(kinds, u) },
	}
}

// policyIn returns what hands over the document that says which pods get a sidecar.
func policyIn(c *kubeclient.Cluster, log *slog.Logger) func(context.Context, serve.SettingsSink) error {
	read, _ := documentIn(c, mesh.InjectConfigMap, mesh.InjectKey, log)
	return read
}

// attached returns the webhooks as a source of the control plane.
func (h *hooks) attached() serve.Attached {
	return serve.Attached{Names: []string{hooksSource}, New: func(a serve.Attachment) (serve.Source, error) {
		h.sink = func(ctx context.Context, problems []mesh.Problem) error {
			_, err := a.Store.SetObjects(ctx, hooksSource, nil, problems)
			return err
		}
		return h, nil
	}}
}

// Run implements [serve.Source].
func (h *hooks) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return h.owners.Run(ctx) })
	group.Go(func() error { return h.server.Run(ctx) })
	group.Go(func() error {
		return h.policy(ctx, func(ctx context.Context, t serve.SettingsText) error {
			d := policy.Document{Name: t.Document.Name, Object: t.Document.Object, Text: t.Document.Text}
			return h.sink(ctx, h.server.SetPolicy(webhook.Reading{Document: d, Found: t.Found, Err: t.Err}))
		})
	})
	return group.Wait()
}

// Objects implements [serve.Source].
func (h *hooks) Objects() []config.Object { return nil }

// TakeSettings implements [serve.Source]: what is injected depends on none.
func (h *hooks) TakeSettings(mesh.Settings) {}

// answers counts what was answered.
func (h *hooks) answers() map[serve.Answer]uint64 {
	all := map[serve.Answer]uint64{}
	for call, n := range h.server.Counts() {
		all[serve.Answer(call)] = n
	}
	return all
}

// toldHooks returns what an API server is to be told; false: that is not known yet.
type toldHooks func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool)

// told returns what the API server is to be told, with the roots of the trust domain.
func (h *hooks) told(roots func() []byte) toldHooks {
	if h == nil {
		return nil
	}
	return func() (*admissionv1.MutatingWebhookConfiguration, *admissionv1.ValidatingWebhookConfiguration, bool) {
		all, known := h.server.Hooks(roots())
		return all.Mutating, all.Validating, known
	}
}
