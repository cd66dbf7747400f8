package bugreport

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Machine is a mesh on this machine.
type Machine struct {
	Dir    string // state folder
	Client *api.Client
	Common []Part // what is collected of every mesh: versions, the verdict
}

// maxProxies bounds the proxies of which more is collected than a line in a list.
const maxProxies = 20

// logs are the files of a proxy's folder that are collected: what Envoy, its agent and its access log said.
var logs = []string{"agent.log", "agent.log.1", "access.log", "access.log.1"}

// maxLog bounds what is kept of one of them: its end.
const maxLog = 2 << 20

// OfMachine returns the sources of a mesh on this machine. Where its control plane is away, files are left.
func OfMachine(m Machine, r *Redactor) []Source {
	return []Source{
		listed("versions and verdict", m.Common),
		listed("control plane", planeParts(m.Client, "control-plane")),
		listed("objects", objectParts(m.Client, r)),
		{Name: "proxies", List: m.proxies},
	}
}

// listed is a source whose parts are known.
func listed(name string, parts []Part) Source {
	return Source{Name: name, List: func(context.Context) ([]Part, error) { return parts, nil }}
}

// proxies lists what is collected of the proxies on this machine, those first that are not as they should be.
func (m *Machine) proxies(ctx context.Context) ([]Part, error) {
	root := filepath.Join(m.Dir, "proxies")
	entries, err := os.ReadDir(root)
	var ids []mesh.ProxyID
	if proxies, failed := m.Client.Proxies(ctx); failed == nil {
		troubled(proxies)
		for i := range proxies {
			ids = append(ids, proxies[i].ID)
		}
	}
	for _, e := range entries {
		if id := mesh.ProxyID(e.Name()); !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if more := len(ids) - maxProxies; more > 0 {
		ids = ids[:maxProxies]
		err = fmt.Errorf("of %d more proxies nothing is collected: the archive has %d", more, maxProxies)
	}
	var parts []Part
	for _, id := range ids {
		dir := filepath.Join(root, filepath.Base(string(id)))
		if !slices.ContainsFunc(entries, func(e os.DirEntry) bool { return e.Name() == string(id) && e.IsDir() }) {
			continue // it runs elsewhere
		}
		folder, admin := "proxies/"+string(id), dump.Socket(filepath.Join(dir, "admin.sock"))
		parts = append(parts, configPart(m.Client, id, admin, folder),
			Part{Name: folder + "/stats.txt", Get: func(ctx context.Context) ([]byte, error) { return admin.Get(ctx, "/stats/prometheus") }},
			Part{Name: folder + "/identity.json", Get: func(ctx context.Context) ([]byte, error) { return agent.Look(ctx, dir, agent.LookIdentity) }})
		for _, log := range logs {
			if _, missing := os.Lstat(filepath.Join(dir, log)); missing == nil {
				parts = append(parts, Part{Name: folder + "/" + log, Tail: true, Get: func(context.Context) ([]byte, error) {
					return tail(filepath.Join(dir, log), maxLog)
				}})
			}
		}
	}
	return parts, err
}

// tail returns the end of a regular file, in whole lines: of one that is cut it could not be seen what it is. The error says so.
func tail(path string, most int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no regular file", path)
	}
	begin := max(info.Size()-most, 0)
	text, err := io.ReadAll(io.NewSectionReader(f, begin, info.Size()-begin))
	if begin == 0 || err != nil {
		return text, err
	}
	return wholeLines(text), onlyEnd{info.Size()}
}

// wholeLines leaves out the line with which a text begins, of which something is missing.
func wholeLines(text []byte) []byte {
	_, whole, _ := bytes.Cut(text, []byte("\n"))
	return whole
}

// onlyEnd tells that of a text only the end was kept.
type onlyEnd struct{ size int64 }

func (e onlyEnd) Error() string { return fmt.Sprintf("the end of %d bytes", e.size) }

// SecretsOf returns what must be in no archive of a mesh, as far as it lies in its state folder. What cannot be read is left out.
func SecretsOf(dir string) [][]byte {
	paths := []string{filepath.Join(dir, api.TokenFile)}
	for _, pattern := range []string{"ca/*.pem*", "proxies/*/key.pem"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err == nil {
			paths = append(paths, found...)
		}
	}
	const longest = 64 << 10
	var all [][]byte
	for _, path := range paths {
		if text, err := tail(path, longest); err == nil {
			all = append(all, text)
		}
	}
	return all
}
