package archtest

import (
	"fmt"
	"go/doc"
	"io/fs"
	"maps"
	"slices"
	"strings"
)

//go:generate go test -count 1 -run ^TestPackagesPage$ . -update

const packagesPage = "docs/reference/packages.md"

const packagesHead = `# Packages

What each package does, in the first sentence of its own comment; the comment goes on with what comes in, what goes out and what it
promises. Who may import whom stands in [architecture.md](../architecture.md#who-may-import-whom). ` + "`make generate`" + ` writes this file.

| Package | |
|---|---|
`

// packagesOf returns the page that lists the packages of a checkout.
func packagesOf(root fs.FS) (string, error) {
	files, err := sources(root)
	if err != nil {
		return "", err
	}
	synopses := map[string]string{}
	for _, f := range files {
		if f.test || f.syntax.Doc == nil {
			continue
		}
		synopses[f.dir] = new(doc.Package).Synopsis(f.syntax.Doc.Text())
	}
	var page strings.Builder
	page.WriteString(packagesHead)
	for _, dir := range slices.Sorted(maps.Keys(synopses)) {
		text := synopses[dir]
		for _, start := range []string{"Package ", "Command "} {
			if rest, ok := strings.CutPrefix(text, start); ok {
				_, text, _ = strings.Cut(rest, " ")
			}
		}
		fmt.Fprintf(&page, "| `%s` | %s |\n", dir, text)
	}
	return page.String(), nil
}
