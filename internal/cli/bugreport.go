package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/bugreport"
)

// reporting is one use of `lateen bug-report`.
type reporting struct {
	mesh    *meshFlags
	output  string
	pods    []string
	since   time.Duration
	timeout time.Duration
}

// maxNamedPods bounds the pods that may be named.
const maxNamedPods = 20

func newBugReportCommand(m *meshFlags) *cobra.Command {
	b := &reporting{mesh: m}
	cmd := &cobra.Command{
		Use:   "bug-report",
		Short: "Collect into one archive what somebody needs who is to find out what is wrong, without secrets",
		Long: `Collect into one archive (tar.gz) what somebody needs who is to find out what is wrong with a mesh: versions, the verdict of
` + "`lateen check`" + `, objects with their status, problems, proxies and whether they are in sync, what the control plane says of itself, and logs.
Of proxies it has what their Envoys have and were sent, what they count, and logs: on one machine of all, at most 20; in a cluster of
the pods that --pod names, else of some that are out of sync.

Keys, tokens, Secrets, passwords, values of the environment and of headers in rules, and queries of URLs are left out, and so are logs
of applications. Names of services, hosts and paths of requests are in it: look at it before you give it away.

What cannot be had, since something does not answer or you have not the right, stands in index.txt with the reason, and the rest
is there. Nothing is changed. Progress goes to standard error.`,
		Example: "  lateen bug-report\n  lateen bug-report --pod shop/reviews-v1-5dd95d647f-2jl2r -c ~/.kube/config\n  lateen bug-report --output - | tar tz",
		Args:    noArguments,
		RunE:    b.run,
	}
	flags := cmd.Flags()
	flags.StringVar(&b.output, "output", "", "`file` to write, - for standard output (default: lateen-bug-report-TIME.tar.gz)")
	flags.StringArrayVar(&b.pods, "pod", nil, "`NAMESPACE/NAME` of a pod whose sidecar is looked at; may be given several times")
	flags.DurationVar(&b.since, "since", defaultSince, "how far back the check reads access logs for who called")
	flags.DurationVar(&b.timeout, "timeout", 3*time.Minute, "how long all of it may take; what is not there by then is left out")
	return cmd
}

func (b *reporting) run(cmd *cobra.Command, _ []string) error {
	pods, err := b.named()
	if err != nil {
		return err
	}
	if b.timeout <= 0 || b.since <= 0 {
		return misused("for instance: --timeout 1m --since 10m", "--timeout and --since are times above 0")
	}
	t, err := b.mesh.findOrLeft(cmd.Context())
	if err != nil {
		return err
	}
	if len(pods) > 0 && t.cluster == nil {
		return misused("leave out --pod: of a mesh on this machine all proxies are looked at", "--pod is about a cluster, and %s runs on this machine", t.said())
	}
	now := time.Now().UTC().Truncate(time.Second)
	name := "lateen-bug-report-" + now.Format("20060102T150405Z")
	c := bugreport.Config{
		Dir: name, Time: now, Redactor: bugreport.NewRedactor(bugreport.SecretsOf(t.dir)...),
		Head: fmt.Sprintf("%s, collected at %s by lateen %s.\nLeft out: keys, tokens, Secrets, passwords, environments, logs of applications.\n", t.said(), now.Format(time.RFC3339), version),
		Tell: func(line string) { fmt.Fprintf(cmd.ErrOrStderr(), "lateen: %s\n", oneLine(line)) },
	}
	if c.Sources, err = b.sources(t, pods, c.Redactor); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), b.timeout)
	defer cancel()
	file := cmp.Or(b.output, name+".tar.gz")
	summary, err := written(ctx, cmd.OutOrStdout(), file, c)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "lateen: %s, %d cut, %d missing: %s says which and why\n",
		count(summary.Whole+summary.Cut, "part"), summary.Cut, summary.Missing, bugreport.IndexName)
	if file != "-" {
		fmt.Fprintln(cmd.OutOrStdout(), file)
	}
	return nil
}

// named returns the pods that are named.
func (b *reporting) named() ([]bugreport.Pod, error) {
	if len(b.pods) > maxNamedPods {
		return nil, misused("", "%d pods are named, and %d may be", len(b.pods), maxNamedPods)
	}
	var pods []bugreport.Pod
	for _, p := range b.pods {
		namespace, name, ok := strings.Cut(p, "/")
		if !ok || namespace == "" || name == "" || strings.Contains(name, "/") {
			return nil, misused("for instance: --pod shop/reviews-v1-5dd95d647f-2jl2r", "--pod %q is no NAMESPACE/NAME", p)
		}
		pods = append(pods, bugreport.Pod{Namespace: namespace, Name: name})
	}
	return pods, nil
}

// sources says what is collected of a mesh.
func (b *reporting) sources(t target, pods []bugreport.Pod, r *bugreport.Redactor) ([]bugreport.Source, error) {
	common := []bugreport.Part{
		bugreport.Value("versions.json", func(ctx context.Context) (any, error) { return versionsOf(ctx, t) }),
		bugreport.Value("check.json", func(ctx context.Context) (any, error) {
			_, report, err := checkedAt(ctx, t, b.since, 0)
			if err != nil {
				return nil, err
			}
			return report, nil
		}),
	}
	if t.cluster == nil {
		return bugreport.OfMachine(bugreport.Machine{Dir: t.dir, Client: t.client, Common: common}, r), nil
	}
	return bugreport.OfCluster(bugreport.Cluster{
		Where: t.cluster.Cluster, Namespace: b.mesh.namespace, Client: t.client, Pods: pods, Common: common,
		Why: func(ctx context.Context, p bugreport.Pod) (string, error) {
			why, _, err := whyInjected(ctx, t.cluster.Cluster, p.Namespace, p.Name)
			return why, err
		},
	}, r)
}

// versionsOf tells the versions of everything that has one.
func versionsOf(ctx context.Context, t target) (any, error) {
	v := map[string]string{"client": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH}
	status, err := t.client.Status(ctx)
	if err == nil {
		v["control-plane"] = status.Version
	}
	if t.cluster == nil {
		return v, err
	}
	client, failed := t.cluster.Typed()
	if failed != nil {
		return v, errors.Join(err, failed)
	}
	server, failed := client.ServerVersion(ctx)
	if failed == nil {
		v["cluster"] = server.GitVersion
	}
	return v, errors.Join(err, failed)
}

// written writes an archive to a file that nobody else may read, or to w for "-". A file is there whole or not at all.
func written(ctx context.Context, w io.Writer, file string, c bugreport.Config) (bugreport.Summary, error) {
	if file == "-" {
		return bugreport.Write(ctx, w, c)
	}
	unfinished, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return bugreport.Summary{}, failed("--output names another file", "%w", err)
	}
	defer func() { _ = os.Remove(unfinished.Name()) }() // where it was not finished
	summary, err := bugreport.Write(ctx, unfinished, c)
	if err = errors.Join(err, unfinished.Close()); err == nil {
		err = os.Rename(unfinished.Name(), file)
	}
	return summary, err
}
