package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"

	"github.com/lateen-mesh/lateen/internal/inject"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

// maxInjected bounds all files that are injected at once, in bytes.
const maxInjected = 64 << 20

// injecting holds the flags of `lateen inject`.
type injecting struct {
	files, ranges, excluded     []string
	output, hub, tag, ver, pull string
	uninject                    bool

	pod       string // to explain
	namespace string // of it
	mesh      *meshFlags
}

func newInjectCommand(m *meshFlags) *cobra.Command {
	i := injecting{mesh: m}
	cmd := &cobra.Command{
		Use:     "inject -f FILE|FOLDER|-",
		Aliases: []string{"kube-inject"},
		Short:   "Give the pods in Kubernetes files their sidecar",
		Long: `Give the pods in Kubernetes files their sidecar. The files come out with lines added, and otherwise as they were. No
cluster is asked. What is left alone, and why, is told on standard error.

Deployments, DaemonSets, ReplicaSets, StatefulSets, Jobs, CronJobs, ReplicationControllers, Pods and Lists of these are
known, in every apiVersion there has been. A pod that has a sidecar is left alone; to give it that of this version, take the
old one out first. What cannot be injected stands in the output as it was, and the command fails with exit code 1.

With --explain a cluster is asked why one of its pods has a sidecar, or has none.`,
		Example: `  lateen inject -f bookinfo.yaml | kubectl apply -f -
  lateen inject -f manifests/ -o injected.yaml
  kubectl get deployment reviews-v1 -o yaml | lateen inject --uninject -f - | lateen inject -f - | kubectl apply -f -
  lateen inject --explain reviews-v1-5d8f -n shop`,
		RunE: func(cmd *cobra.Command, args []string) error {
			i.files = append(i.files, args...)
			if i.pod != "" {
				return i.explain(cmd)
			}
			return i.run(cmd)
		},
	}
	flags := cmd.Flags()
	flags.StringArrayVarP(&i.files, "filename", "f", nil, "file, folder, or - for standard input; may be given several times")
	flags.StringVarP(&i.output, "output", "o", "", "file to write to (default: standard output)")
	flags.BoolVar(&i.uninject, "uninject", false, "take the sidecars out again")
	m.addKubeconfigTo(flags)
	flags.StringVar(&i.pod, "explain", "", "say why a `POD` of a cluster has a sidecar, or has none")
	flags.StringVarP(&i.namespace, "namespace", "n", "", "its namespace (default: that of the context)")
	flags.StringVar(&i.hub, "hub", "", "where the image is, such as registry.example.com/mesh (default: the nodes have it)")
	flags.StringVar(&i.tag, "tag", "", "tag of the image (default: the version of this program)")
	flags.StringVar(&i.ver, "setVersionString", "", "version of the sidecar in the annotation "+mesh.StatusAnnotation+" (default: the version of this program)")
	flags.StringVar(&i.pull, "imagePullPolicy", string(corev1.PullIfNotPresent), "when nodes pull the image: Always, IfNotPresent or Never")
	flags.StringSliceVar(&i.ranges, "includeIPRanges", nil, "networks of IPv4, with commas, whose addresses go through the proxy when a pod calls them (default: all)")
	flags.StringSliceVar(&i.excluded, "excludeIPRanges", nil, "those of them, with commas, whose addresses do not; * for all")
	return addLegacy(cmd, kubeInjectFlags())
}

// options returns what is injected.
func (i *injecting) options(stderr io.Writer) (inject.Options, error) {
	o := inject.Options{Image: image(i.hub, i.tag, "lateen-proxy"), Pull: corev1.PullPolicy(i.pull), Version: i.ver, Ranges: i.ranges, Exclude: i.excluded}
	if o.Version == "" {
		o.Version = version
	}
	switch o.Pull {
	case corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever:
	default:
		fmt.Fprintf(stderr, "lateen: warning: --imagePullPolicy %q is none of Always, IfNotPresent and Never: IfNotPresent is taken\n", i.pull)
		o.Pull = corev1.PullIfNotPresent
	}
	if err := o.Check(); err != nil {
		return o, misused("`lateen inject --help` lists the flags", "%w", err)
	}
	return o, nil
}

// image returns the name of one of our images.
func image(hub, tag, name string) string {
	if hub != "" {
		name = strings.TrimSuffix(hub, "/") + "/" + name
	}
	if tag == "" {
		tag = version
	}
	return name + ":" + tag
}

func (i *injecting) run(cmd *cobra.Command) error {
	o, err := i.options(cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	names, err := listInput(i.files)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	bad, left := 0, int64(maxInjected)
	for _, name := range names {
		data, err := readInput(name, cmd.InOrStdin(), left)
		if err != nil {
			return err
		}
		left -= int64(len(data))
		if name == "-" {
			name = "stdin"
		}
		result := i.process(name, data, o)
		i.report(cmd.ErrOrStderr(), result)
		bad += errorsIn(result.Problems)
		if out.Len() > 0 || len(names) > 1 && startsJSON(result.Text) {
			separate(&out)
		}
		out.Write(result.Text)
	}
	if err := i.write(cmd.OutOrStdout(), out.Bytes()); err != nil {
		return err
	}
	if bad > 0 {
		return failed("what has errors stands in the output as it was", "%s", count(bad, "error"))
	}
	return nil
}

func (i *injecting) process(name string, data []byte, o inject.Options) inject.Result {
	if i.uninject {
		return inject.Uninject(name, data)
	}
	return inject.Inject(name, data, o)
}

// separate ends what is in a buffer, so that another file can follow.
func separate(out *bytes.Buffer) {
	if out.Len() > 0 && !bytes.HasSuffix(out.Bytes(), []byte("\n")) {
		out.WriteByte('\n')
	}
	out.WriteString("---\n")
}

// startsJSON tells whether kubectl would take a text for JSON, and all that follows too.
func startsJSON(text []byte) bool { return bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")) }

// report tells what became of a file.
func (i *injecting) report(w io.Writer, result inject.Result) {
	done := "sidecar injected"
	if i.uninject {
		done = "sidecar taken out"
	}
	for _, l := range result.Workloads {
		switch {
		case l.Changed:
			fmt.Fprintf(w, "%s: %s: %s\n", l.Position, l.Ref, done)
		case l.Why != "":
			fmt.Fprintf(w, "%s: %s: left alone: %s\n", l.Position, l.Ref, l.Why)
		}
	}
	if len(result.Workloads) == 0 && len(result.Problems) == 0 && result.Others > 0 {
		fmt.Fprintf(w, "lateen: %s, none of which has pods\n", count(result.Others, "object"))
	}
	tell(w, result.Problems)
}

// write writes the output to where it was asked for.
func (i *injecting) write(stdout io.Writer, out []byte) error {
	if i.output == "" {
		_, err := stdout.Write(out)
		return err
	}
	return os.WriteFile(i.output, out, 0o644) //nolint:gosec // as secret as what it was made from
}

// listInput returns the files that -f names.
func listInput(paths []string) ([]string, error) {
	if len(paths) == 0 {
		return nil, misused("", "filename not specified (see --filename or -f)")
	}
	var names []string
	for _, path := range paths {
		if path == "-" {
			names = append(names, path)
			continue
		}
		listed, err := file.List(path)
		if err != nil {
			return nil, err
		}
		if len(listed) == 0 {
			return nil, failed("", "%s: no *.yaml, *.yml or *.json file in this folder", path)
		}
		names = append(names, listed...)
	}
	return names, nil
}

// readInput reads a file of at most so many bytes. Of one that is too large for package inject it reads as much as shows that.
func readInput(name string, stdin io.Reader, most int64) ([]byte, error) {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		in = f
	}
	data, err := io.ReadAll(io.LimitReader(in, most+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(data)) > most {
		return nil, failed("give them in several steps", "%s: the files have more than %d bytes", name, maxInjected)
	}
	return data, nil
}
