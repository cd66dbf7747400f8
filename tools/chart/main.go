// Chart renders a Helm chart as `helm template` does, with Helm's own code. Values are read from standard input, as YAML:
//
//	go run . FOLDER <values.yaml
//
// The documents of all templates go to standard output, by the name of their file. Values that the chart's schema refuses
// are an error. Tests compare what Helm makes of the chart with what `lateen install` applies.
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chart: error:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: chart FOLDER <values.yaml")
	}
	text, err := io.ReadAll(in)
	if err != nil {
		return err
	}
	values, err := chartutil.ReadValues(text)
	if err != nil {
		return err
	}
	chart, err := loader.Load(args[0])
	if err != nil {
		return err
	}
	if err := chart.Validate(); err != nil {
		return err
	}
	release := chartutil.ReleaseOptions{Name: "lateen", Namespace: "lateen-system", Revision: 1, IsInstall: true}
	all, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, all)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if _, err := io.WriteString(out, files[name]+"\n"); err != nil {
			return err
		}
	}
	return nil
}
