package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/deploy"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/install"
	"github.com/lateen-mesh/lateen/internal/kubeclient"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// installTime is how long a cluster is given to become as it is to be.
const installTime = 5 * time.Minute

// installation is one use of `lateen install`.
type installation struct {
	mesh     *meshFlags
	options  deploy.Options
	settings string // file
	dry      bool
	output   string
	force    bool
	wait     bool
	timeout  time.Duration
}

func newInstallCommand(m *meshFlags) *cobra.Command {
	i := &installation{mesh: m, options: deploy.Options{Replicas: deploy.DefaultReplicas}}
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install Lateen in a cluster, or bring what is installed to this version",
		Long: `Apply everything that Lateen is in a cluster, in the namespace ` + mesh.SystemNamespace + `: the definitions of its kinds, a control plane, and what
it may do. Each object is told. Then wait until control plane and ingress are ready.

A second time changes nothing: what was chosen stays unless a flag says otherwise, that is --hub, --replicas, --no-ingress and
--mesh-config. The tag is that of this program unless --tag is given. What others have set stays as it is, and where it differs from
what is to be applied the command fails and names who; --force takes it over. Settings of the mesh (the ConfigMap ` + mesh.SystemName + `) are
left alone unless --mesh-config gives some.

With --dry-run the manifests are printed and no cluster is asked, so that every flag counts: they are for ` + "`kubectl apply -f -`" + `, or to be
kept in a repository.`,
		Example: "  lateen check --pre && lateen install\n  lateen install --hub registry.example.com/mesh --replicas 3\n  lateen install --dry-run -o yaml | kubectl apply -f -",
		Args:    noArguments,
		RunE:    func(cmd *cobra.Command, _ []string) error { return i.run(cmd) },
	}
	f := cmd.Flags()
	m.addKubeconfigTo(f)
	f.StringVar(&i.options.Hub, "hub", "", "where the images are, such as registry.example.com/mesh (default: where those that are installed are; else the nodes have them)")
	f.StringVar(&i.options.Tag, "tag", "", "tag of the images (default: the version of this program)")
	f.IntVar(&i.options.Replicas, "replicas", i.options.Replicas, "how many control planes run; as many as there are, where Lateen is installed")
	f.BoolVar(&i.options.NoIngress, "no-ingress", false, "leave out the ingress and its load balancer; one that is there stays. --no-ingress=false brings one that was left out")
	f.StringVar(&i.settings, "mesh-config", "", "`file` with settings of the mesh (MeshConfig); an empty one takes back what was given")
	f.BoolVar(&i.dry, "dry-run", false, "print the manifests; ask no cluster")
	f.StringVarP(&i.output, "output", "o", "", "yaml, with --dry-run")
	f.BoolVar(&i.force, "force", false, "take over fields that others have set")
	f.BoolVar(&i.wait, "wait", true, "wait until control plane and ingress are ready")
	f.DurationVar(&i.timeout, "timeout", installTime, "for how long")
	return cmd
}

func (i *installation) run(cmd *cobra.Command) error {
	switch {
	case i.output != "" && i.output != "yaml":
		return misused("yaml", "unknown output format %q", i.output)
	case i.output != "" && !i.dry:
		return misused("--dry-run -o yaml prints the manifests", "-o is for --dry-run")
	}
	if err := i.read(cmd.ErrOrStderr()); err != nil {
		return err
	}
	if i.dry {
		manifests, err := deploy.Manifests(i.options)
		if err != nil {
			return err
		}
		_, err = cmd.OutOrStdout().Write(manifests)
		return err
	}
	where, err := i.mesh.clusterOnly()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), i.timeout, fmt.Errorf("not after %s", i.timeout))
	defer cancel()
	c, err := install.New(where)
	if err != nil {
		return err
	}
	say := func(what string) { fmt.Fprintf(cmd.ErrOrStderr(), "lateen: cluster %s: %s\n", where.Context, what) }
	kept, err := c.Kept(ctx)
	if err != nil {
		return err
	}
	stays, err := i.keep(kept, cmd.Flags().Changed)
	if err != nil {
		return err
	}
	if len(stays) > 0 {
		say("stays as it was chosen: " + strings.Join(stays, ", "))
	}
	manifests, err := deploy.Manifests(i.options)
	if err != nil {
		return err
	}
	if err := c.Apply(ctx, manifests, i.force, tellSteps(cmd.OutOrStdout())); err != nil {
		return err
	}
	if !i.wait {
		say("not waited for")
		return nil
	}
	if err := c.Await(ctx, manifests, func(missing string) { say(missing + " …") }); err != nil {
		return err
	}
	if i.options.NoIngress {
		say("the control plane is ready")
	} else {
		say("control plane and ingress are ready")
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "lateen: next: `lateen inject -f app.yaml | kubectl apply -f -` gives the pods of an application their proxies\n")
	return nil
}

// tellSteps prints what is done with each object.
func tellSteps(w io.Writer) func(install.Step) {
	return func(s install.Step) { fmt.Fprintf(w, "%s %s\n", s.Verb, s.Object) }
}

// keep takes for what no flag says what was chosen for the installation that is there, and returns it in words where it is not the usual.
func (i *installation) keep(k install.Kept, given func(flag string) bool) (stays []string, err error) {
	o := &i.options
	if !given("hub") {
		if o.Hub, err = k.Hub(); err != nil {
			return nil, err
		}
		if o.Hub != "" {
			stays = append(stays, "images from "+o.Hub)
		}
	}
	if !given("replicas") && k.Replicas > 0 && k.Replicas != o.Replicas {
		o.Replicas = k.Replicas
		stays = append(stays, count(o.Replicas, "control plane"))
	}
	if !given("no-ingress") && k.NoIngress {
		o.NoIngress = true
		stays = append(stays, "no ingress")
	}
	if i.settings == "" && k.Settings != "" {
		o.MeshConfig = k.Settings
		stays = append(stays, "settings of the mesh that --mesh-config gave")
	}
	return stays, nil
}

// read makes options of the flags.
func (i *installation) read(stderr io.Writer) error {
	i.options.Tag, i.options.Hub = cmp.Or(i.options.Tag, version), strings.TrimSuffix(i.options.Hub, "/")
	if i.settings != "" {
		text, err := os.ReadFile(i.settings)
		if err != nil {
			return err
		}
		_, problems := meshconfig.Read(meshconfig.Document{Name: i.settings, Text: text}, serve.Domain)
		tell(stderr, problems)
		if mesh.HasErrors(problems) {
			return failed("", "the settings of the mesh are not applied: %s", count(errorsIn(problems), "error"))
		}
		i.options.MeshConfig = string(text)
	}
	if err := i.options.Check(); err != nil {
		return misused("", "%w", err)
	}
	return nil
}

// clusterOnly returns the cluster that the flags mean, for a command that is about nothing else.
func (f *meshFlags) clusterOnly() (kubeclient.Cluster, error) {
	if f.name != "" || f.stateDir != "" {
		return kubeclient.Cluster{}, misused("--kubeconfig and --context name one", "this command is about a cluster; --mesh and --state-dir mean a mesh on this machine")
	}
	return kubeclient.Load(kubeclient.Options{Kubeconfig: f.kubeconfig, Context: f.context, UserAgent: "lateen/" + version})
}
