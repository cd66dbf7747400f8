package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/api"
)

const nothingFound = "No resources found."

func showShort(w io.Writer, objects []api.Object, _ bool) error {
	return table(w, []string{"NAME", "KIND", "NAMESPACE"}, objects, func(o api.Object) []string {
		return []string{o.Name, kindWord(o), o.Namespace}
	})
}

func showWide(w io.Writer, objects []api.Object, _ bool) error {
	return table(w, []string{"NAME", "KIND", "NAMESPACE", "REVISION", "SOURCE"}, objects, func(o api.Object) []string {
		revision := "-" // of an object in a watched file
		if o.ResourceVersion > 0 {
			revision = strconv.FormatInt(o.ResourceVersion, 10)
		}
		return []string{o.Name, kindWord(o), o.Namespace, revision, fmt.Sprintf("%s:%d", o.Origin.File, o.Origin.Line)}
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

// list is Kubernetes' form of any number of objects.
type list struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []any  `json:"items"`
}

func showJSON(w io.Writer, objects []api.Object, asList bool) error {
	items := []any{}
	for _, o := range objects {
		var item map[string]any
		if err := yaml.Unmarshal([]byte(o.Text), &item); err != nil {
			return fmt.Errorf("%s: %w", o.Ref, err)
		}
		items = append(items, item)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	if !asList && len(items) == 1 {
		return e.Encode(items[0])
	}
	return e.Encode(list{APIVersion: "v1", Kind: "List", Items: items})
}

func showNames(w io.Writer, objects []api.Object, _ bool) error {
	for _, o := range objects {
		if _, err := fmt.Fprintln(w, o.Type+"/"+o.Name); err != nil {
			return err
		}
	}
	return nil
}
