package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one file of a layer, or a folder.
type file struct {
	mode fs.FileMode
	data []byte
}

// files are those of a layer by their absolute paths. Folders that only contain others need no entry.
type files map[string]file

// baseFiles are what programs expect of every system.
func baseFiles() (files, error) {
	authorities, err := os.ReadFile("/etc/ssl/certs/ca-certificates.crt")
	if err != nil {
		return nil, fmt.Errorf("%w: `apt-get install ca-certificates` brings it", err)
	}
	var users, groups strings.Builder
	for _, u := range []struct {
		name   string
		number int
	}{{"root", 0}, {"app", appUser}, {"lateen", meshUser}, {"nobody", nobodyUser}} {
		fmt.Fprintf(&users, "%s:x:%d:%d::/:/sbin/nologin\n", u.name, u.number, u.number)
		fmt.Fprintf(&groups, "%s:x:%d:\n", u.name, u.number)
	}
	return files{
		"/etc/passwd":                        {0o644, []byte(users.String())},
		"/etc/group":                         {0o644, []byte(groups.String())},
		"/etc/nsswitch.conf":                 {0o644, []byte("hosts: files dns\n")},
		"/etc/ssl/certs/ca-certificates.crt": {0o644, authorities},
		"/run":                               {fs.ModeDir | 0o755, nil},
		"/var/run":                           {fs.ModeDir | 0o755, nil},
		"/tmp":                               {fs.ModeDir | fs.ModeSticky | 0o777, nil},
	}, nil
}

// programFiles are programs with the libraries that they are linked with, where the loader looks for them.
func programFiles(programs []string) (files, error) {
	all := files{}
	for _, program := range programs {
		data, err := os.ReadFile(program)
		if err != nil {
			return nil, err
		}
		all[installed(program)] = file{0o755, data}
		libraries, err := libraries(program)
		if err != nil {
			return nil, err
		}
		for _, library := range libraries {
			if data, err = os.ReadFile(library); err != nil {
				return nil, err
			}
			all[library] = file{0o755, data}
		}
	}
	return all, nil
}

// libraries returns what this machine's loader loads for a program, itself included, and looks first in some folders; nothing for one that is
// linked statically.
func libraries(program string, first ...string) ([]string, error) {
	absolute, err := filepath.Abs(program)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("ldd", absolute)
	cmd.Env = append(os.Environ(), "LD_LIBRARY_PATH="+strings.Join(first, ":"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		if bytes.Contains(out, []byte("not a dynamic executable")) {
			return nil, nil
		}
		return nil, fmt.Errorf("ldd %s: %w: %s", program, err, out)
	}
	var all []string
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "not found") {
			return nil, fmt.Errorf("ldd %s: %s", program, strings.TrimSpace(line))
		}
		// "NAME => PATH (ADDRESS)", or "PATH (ADDRESS)" for the loader.
		for _, word := range strings.Fields(line) {
			if path.IsAbs(word) {
				all = append(all, word)
			}
		}
	}
	return all, nil
}

// tar writes the files, and the folders that they are in, in the order of their names.
func (f files) tar() ([]byte, error) {
	all := maps.Clone(f)
	for name := range f {
		for dir := path.Dir(name); dir != "/"; dir = path.Dir(dir) {
			if _, ok := all[dir]; !ok {
				all[dir] = file{fs.ModeDir | 0o755, nil}
			}
		}
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		entry := all[name]
		header := &tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(name, "/"), Size: int64(len(entry.data)), Mode: int64(entry.mode.Perm()), Format: tar.FormatPAX}
		if entry.mode.IsDir() {
			header.Typeflag, header.Name = tar.TypeDir, header.Name+"/"
		}
		if entry.mode&fs.ModeSticky != 0 {
			header.Mode |= 0o1000
		}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(entry.data); err != nil {
			return nil, err
		}
	}
	return out.Bytes(), w.Close()
}

// layerCache makes each layer once, however many images have it.
type layerCache struct {
	compressed bool // for a registry; an archive is read faster without
	made       map[string]v1.Layer
}

func (c *layerCache) layer(key string, content func() (files, error)) (v1.Layer, error) {
	if made, ok := c.made[key]; ok {
		return made, nil
	}
	all, err := content()
	if err != nil {
		return nil, err
	}
	data, err := all.tar()
	if err != nil {
		return nil, err
	}
	layer := v1.Layer(static.NewLayer(data, types.DockerUncompressedLayer))
	if c.compressed {
		open := func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
		if layer, err = tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed)); err != nil {
			return nil, err
		}
	}
	if c.made == nil {
		c.made = map[string]v1.Layer{}
	}
	c.made[key] = layer
	return layer, nil
}
