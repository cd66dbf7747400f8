package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestFindEnvoy(t *testing.T) {
	dir := t.TempDir()
	program := func(name, output string) string {
		path := filepath.Join(dir, name, "envoy")
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+output+"\n"), 0o700); err != nil { //nolint:gosec // it is a program
			t.Fatal(err)
		}
		return path
	}
	version := func(v string) string {
		return fmt.Sprintf("echo; echo 'envoy  version: 9e55/%s/Clean/RELEASE/BoringSSL'", v)
	}
	good, newer, old := program("good", version("1.38.0")), program("newer", version("1.41.0-dev")), program("old", version("1.37.2"))
	two, other, broken := program("two", version("2.40.0")), program("other", "echo GNU hello 2.12"), program("broken", "exit 7")
	in := filepath.Dir
	path := func(dirs ...string) string { return strings.Join(dirs, ":") }

	for name, c := range map[string]struct {
		lookup Lookup
		want   string // path, or text in the error
	}{
		"flag first":           {Lookup{Flag: newer, Env: good, Dir: in(good), Path: in(good)}, newer},
		"then environment":     {Lookup{Env: newer, Dir: in(good), Path: in(good)}, newer},
		"then beside":          {Lookup{Dir: in(newer), Path: in(good)}, newer},
		"then PATH":            {Lookup{Dir: dir, Path: path("", dir, in(good), in(newer))}, good},
		"nowhere":              {Lookup{Dir: dir, Path: path(dir, "")}, "there is no Envoy"},
		"flag is no program":   {Lookup{Flag: dir, Path: in(good)}, "--envoy: " + dir + " is not a program"},
		"env is no program":    {Lookup{Env: "/nonesuch", Path: in(good)}, "LATEEN_ENVOY: /nonesuch is not a program"},
		"too old":              {Lookup{Path: in(old)}, "is Envoy 1.37.2: 1.38 or later is needed"},
		"another first number": {Lookup{Flag: two}, `its version is "2.40.0"`},
		"another program":      {Lookup{Flag: other}, "not an Envoy"},
		"does not run":         {Lookup{Flag: broken}, "--version: exit status 7"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := FindEnvoy(t.Context(), c.lookup)
			if err == nil {
				if got != c.want {
					t.Errorf("found %s, want %s", got, c.want)
				}
				return
			}
			missing, ok := errors.AsType[*NotFound](err)
			if !ok || !strings.Contains(err.Error(), c.want) || missing.Hint() == "" {
				t.Errorf("error %v, want %q in it, and a hint", err, c.want)
			}
		})
	}
}
