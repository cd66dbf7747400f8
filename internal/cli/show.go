package cli

import (
	"cmp"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/lateen-mesh/lateen/internal/api"
)

const nothingFound = "No resources found."

func showShort(w io.Writer, objects []api.Object, _ bool) error {
	return table(w, []string{"NAME", "KIND", "NAMESPACE"}, objects, func(o api.Object) []string {
		return []string{o.Name, kindWord(o), o.Namespace}
	})
}

func showWide(w io.Writer, objects []api.Object, _ bool) error {
	return table(w, []string{"NAME", "KIND", "NAMESPACE", "REVISION", "OWNER"}, objects, func(o api.Object) []string {
		revision, owner := "-", fmt.Sprintf("%s:%d", o.Origin.File, o.Origin.Line) // of a watched file
		switch o.Source {
		case api.SourceCommand:
			revision, owner = strconv.FormatInt(o.ResourceVersion, 10), "command"
		case api.SourceCluster:
			revision, owner = strconv.FormatInt(o.ResourceVersion, 10), cmp.Or(o.Owner, "-")
		}
		return []string{o.Name, kindWord(o), o.Namespace, revision, owner}
	})
}

// table prints aligned columns.
func table(w io.Writer, header []string, objects []api.Object, row func(api.Object) []string) error {
	if len(objects) == 0 {
		_, err := fmt.Fprintln(w, nothingFound)
		return err
	}
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, strings.Join(header, "\t"))
	for _, o := range objects {
		fmt.Fprintln(t, strings.Join(row(o), "\t"))
	}
	return t.Flush()
}

// kindWord returns "RouteRule.v1alpha2.config.istio.io".
func kindWord(o api.Object) string {
	group, version, ok := strings.Cut(o.APIVersion, "/")
	if !ok {
		return o.Kind + "." + o.APIVersion
	}
	return o.Kind + "." + version + "." + group
}

func showYAML(w io.Writer, objects []api.Object, _ bool) error {
	if len(objects) == 0 {
		_, err := fmt.Fprintln(w, nothingFound)
		return err
	}
	for _, o := range objects {
		if _, err := fmt.Fprintf(w, "%s\n---\n", strings.TrimRight(o.Text, "\n")); err != nil {
			return err
		}
	}
	return nil
}

func showNames(w io.Writer, objects []api.Object, _ bool) error {
	for _, o := range objects {
		if _, err := fmt.Fprintln(w, o.Type+"/"+o.Name); err != nil {
			return err
		}
	}
	return nil
}
