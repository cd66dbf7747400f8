package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// programs makes a folder with something in place of each program. Envoy and MariaDB are linked dynamically.
func programs(t *testing.T) string {
	t.Helper()
	dynamic, err := os.ReadFile("/bin/ls")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for program, data := range map[string][]byte{
		"lateen": []byte("lateen"), "lateen-agent": []byte("agent"), "envoy": dynamic, "testapp": []byte("testapp"),
		"kubernetes/pause": []byte("pause"), "kubernetes/coredns": []byte("coredns"),
		"startmariadb": []byte("start"), "mariadb/usr/sbin/mariadbd": dynamic, "mariadb/usr/share/mysql/mysql_system_tables.sql": []byte("tables"),
		"mariadb/usr/share/mysql/english/errmsg.sys": []byte("messages"), "mariadb/usr/share/mysql/charsets/Index.xml": []byte("sets"),
		"mariadb/usr/share/doc/mariadb/README": []byte("nobody reads it"),
	} {
		file := filepath.Join(dir, program)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		// Neither the mode nor the owner or the time of a program is part of an image.
		if err := os.WriteFile(file, data, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(file, time.Time{}, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// archives builds all images into a folder, and returns their files.
func archives(t *testing.T, bin, tag string) []string {
	t.Helper()
	dir := t.TempDir()
	var out bytes.Buffer
	if err := run([]string{"-bin", bin, "-out", dir, "-tag", tag}, &out); err != nil {
		t.Fatal(err)
	}
	files := strings.Fields(out.String())
	if len(files) != 7 {
		t.Fatalf("built %q", files)
	}
	return files
}

// The same programs make the same bytes.
func TestReproducible(t *testing.T) {
	t.Parallel()
	first, second := archives(t, programs(t), "1.0"), archives(t, programs(t), "1.0")
	for i := range first {
		a, err := os.ReadFile(first[i])
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(second[i])
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(a, b) {
			t.Errorf("%s differs", filepath.Base(first[i]))
		}
	}
}

// content returns the headers of the files in an image by their names.
func content(t *testing.T, i v1.Image) map[string]*tar.Header {
	t.Helper()
	all := map[string]*tar.Header{}
	flat := mutate.Extract(i)
	defer flat.Close()
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if err == io.EOF {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 || h.ModTime.Unix() != 0 || h.Mode&0o022 != 0 && h.Name != "tmp" {
			t.Errorf("%s belongs to %d:%d, is of %v and has mode %o", h.Name, h.Uid, h.Gid, h.ModTime, h.Mode)
		}
		all["/"+h.Name] = h
	}
}

// Every image has what it starts, by a user that is not root and whom /etc/passwd knows, and a dynamic program its libraries.
func TestContent(t *testing.T) {
	t.Parallel()
	for _, file := range archives(t, programs(t), "1.0") {
		built, err := tarball.ImageFromPath(file, nil)
		if err != nil {
			t.Fatal(err)
		}
		config, err := built.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		all := content(t, built)
		image := strings.TrimSuffix(filepath.Base(file), ".tar")
		if h := all[config.Config.Entrypoint[0]]; h == nil || h.Mode != 0o755 {
			t.Errorf("%s starts %q, which is %+v", image, config.Config.Entrypoint, h)
		}
		if root := config.Config.User == "0:0"; root != (image == "lateen-coredns") {
			t.Errorf("%s runs as %s", image, config.Config.User)
		}
		if app := config.Config.User == "1000:1000"; app != slices.Contains([]string{"lateen-bookinfo", "lateen-mariadb", "lateen-testapp"}, image) {
			t.Errorf("%s runs as %s", image, config.Config.User)
		}
		for _, want := range []string{"/etc/passwd", "/etc/group", "/etc/ssl/certs/ca-certificates.crt", "/tmp", "/run", "/var/run"} {
			if all[want] == nil {
				t.Errorf("%s has no %s", image, want)
			}
		}
		libraries := 0
		for name := range all {
			if strings.Contains(name, "/libc.so") || strings.Contains(name, "/ld-linux") {
				libraries++
			}
		}
		if want := map[string]int{"lateen-proxy": 2, "lateen-mariadb": 2}[image]; libraries != want {
			t.Errorf("%s has %d libraries of C, want %d", image, libraries, want)
		}
		for _, part := range []string{"/usr/sbin/mariadbd", "/usr/share/mysql/english/errmsg.sys", "/usr/share/mysql/charsets/Index.xml", "/usr/share/mysql/mysql_system_tables.sql"} {
			if (all[part] != nil) != (image == "lateen-mariadb") {
				t.Errorf("%s and %s: %+v", image, part, all[part])
			}
		}
		for name := range all {
			if strings.Contains(name, "/doc/") || strings.HasPrefix(name, "/mariadb") {
				t.Errorf("%s has %s", image, name)
			}
		}
		if config.OS != "linux" || config.Architecture == "" || config.Config.Labels["org.opencontainers.image.version"] != "1.0" {
			t.Errorf("%s: %+v", image, config)
		}
	}
}

// A registry gets the images of users, with the tag, and not those of the test cluster.
func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	prefix := strings.TrimPrefix(server.URL, "http://") + "/mesh"
	var out bytes.Buffer
	if err := run([]string{"-bin", programs(t), "-out", t.TempDir(), "-tag", "1.0", "-push", prefix}, &out); err != nil {
		t.Fatal(err)
	}
	pushed := strings.Fields(out.String())
	if len(pushed) != 5 {
		t.Fatalf("pushed %q", pushed)
	}
	for _, reference := range pushed {
		ref, err := name.ParseReference(reference)
		if err != nil {
			t.Fatal(err)
		}
		image, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		if all := content(t, image); len(all) < 8 {
			t.Errorf("%s has %d files", reference, len(all))
		}
	}
	if _, err := remote.Image(must(name.ParseReference(prefix + "/lateen-coredns:1.0"))); err == nil {
		t.Error("an image of the test cluster was pushed")
	}
}

// Where there is no MariaDB there is no image of it, and all the others are there.
func TestNoMariaDB(t *testing.T) {
	t.Parallel()
	bin := programs(t)
	if err := os.RemoveAll(filepath.Join(bin, "mariadb")); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if err := run([]string{"-bin", bin, "-out", t.TempDir()}, &out); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/usr/sbin/mariadbd"); (err == nil) != strings.Contains(out.String(), "lateen-mariadb.tar") || len(strings.Fields(out.String())) < 6 {
		t.Errorf("built %q", out.String())
	}
}

// What is missing is said, and leaves no archive that is half of one.
func TestMissing(t *testing.T) {
	t.Parallel()
	bin, dir := programs(t), t.TempDir()
	if err := os.Remove(filepath.Join(bin, "lateen-agent")); err != nil {
		t.Fatal(err)
	}
	err := run([]string{"-bin", bin, "-out", dir}, io.Discard)
	if err == nil || !strings.Contains(err.Error(), "lateen-proxy: ") || !strings.Contains(err.Error(), "lateen-agent: no such file") {
		t.Errorf("without the agent: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, "lateen-proxy.tar")); err == nil {
		t.Error("there is an archive without the agent")
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
