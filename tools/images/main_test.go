package main

import (
	"archive/tar"
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
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
	if err := run([]string{"-bin", bin, "-out", dir, "-tag", tag}, &out, io.Discard); err != nil {
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
	if err := run([]string{"-bin", programs(t), "-out", t.TempDir(), "-tag", "1.0", "-push", prefix}, &out, io.Discard); err != nil {
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

// Where there is no MariaDB there is no image of it, which is said, and all the others are there; to a registry nothing is pushed that lacks one.
func TestNoMariaDB(t *testing.T) {
	t.Parallel()
	bin := programs(t)
	root := filepath.Join(bin, "mariadb")
	system := filepath.Join(t.TempDir(), "system")
	if err := os.Rename(root, system); err != nil {
		t.Fatal(err)
	}
	build := func(args ...string) (out, errs string, err error) {
		var told, warned bytes.Buffer
		err = run(append([]string{"-bin", bin, "-out", t.TempDir()}, args...), &told, &warned)
		return told.String(), warned.String(), err
	}
	out, errs, err := build("-system", t.TempDir())
	if err != nil || strings.Contains(out, "lateen-mariadb") || len(strings.Fields(out)) != 6 || !strings.Contains(errs, "make mariadb") {
		t.Errorf("without: built %q, %q, %v", out, errs, err)
	}
	out, _, err = build("-system", t.TempDir(), "-push", "127.0.0.1:1/x")
	if err == nil || !strings.Contains(err.Error(), "make mariadb") || out != "" {
		t.Errorf("pushed without: %q, %v", out, err)
	}
	if out, errs, err = build("-system", system); err != nil || !strings.Contains(out, "lateen-mariadb.tar") || errs != "" {
		t.Errorf("the system's: built %q, %q, %v", out, errs, err)
	}
}

// The MariaDB that `make mariadb` is content with is one that an image can be made of: one somewhere on PATH is not.
func TestFetchMariaDB(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script, err := os.ReadFile("../mariadb/fetch")
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"tools/mariadb/fetch": string(script),
		"path/mariadbd":       "#!/bin/sh\necho 'mariadbd  Ver 10.11.1-MariaDB for Linux'\n",
		"path/apt-get":        "#!/bin/sh\necho 'E: asked' >&2\nexit 1\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(file)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("sh", "tools/mariadb/fetch")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "path")+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if mariadb(filepath.Join(dir, "bin"), "/") == "" && (err == nil || !strings.Contains(string(out), "asked")) {
		t.Errorf("apt-get is not asked: %s (%v)", out, err)
	}
}

// What is missing is said, and leaves no archive that is half of one.
func TestMissing(t *testing.T) {
	t.Parallel()
	bin, dir := programs(t), t.TempDir()
	if err := os.Remove(filepath.Join(bin, "lateen-agent")); err != nil {
		t.Fatal(err)
	}
	err := run([]string{"-bin", bin, "-out", dir}, io.Discard, io.Discard)
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
