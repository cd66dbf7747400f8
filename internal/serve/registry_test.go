package serve

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
)

// What is wrong with a registry file is told before anything runs.
func TestReadRegistry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		`{"services": [], "endpoints": [], "workloads": []}`: "",
		`{"service": []}`:       `unknown field "service"`,
		`services: []`:          "invalid character",
		`{"services": [null]}`:  "services[0] is null",
		`{"endpoints": [null]}`: "endpoints[0] is null",
		`{"workloads": [null]}`: "workloads[0] is null",
		`{"services": [{"host": "web", "ports": [{"name": "http", "number": 80, "protocol": "http"}]}]}`:   `service web, port 80: protocol "http" is none of`,
		`{"workloads": [{"name": "a", "namespace": "default", "type": "router", "address": "127.0.0.2"}]}`: "unknown type",
	} {
		path := filepath.Join(dir, "registry.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readRegistry(path)
		told, ok := errors.AsType[*api.Error](err)
		if want == "" && err != nil || want != "" && (!ok || !strings.Contains(told.Message, want) || told.Hint == "") {
			t.Errorf("%s: error %v, want %q", text, err, want)
		}
	}
	if _, err := readRegistry(filepath.Join(dir, "none")); err == nil {
		t.Error("a file that is not there is taken")
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(large, maxRegistry+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readRegistry(large); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a file that is too large: %v", err)
	}
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readRegistry(pipe); err == nil || !strings.Contains(err.Error(), "no regular file") {
		t.Errorf("a pipe: %v", err)
	}
}
