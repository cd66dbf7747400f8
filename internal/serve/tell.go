package serve

import (
	"encoding"
	"log/slog"
	"net"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/lateen-mesh/lateen/internal/admin"
	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// tellStart logs where everything comes from and where the control plane answers, and what it waits for.
func (p *Plane) tellStart() {
	c := p.config
	p.config.Log.Info("sources", "files", strings.Join(c.Paths, " "), "written", filepath.Join(c.StateDir, "objects"), "registry", c.RegistryFile, "settings", c.SettingsPlace,
		"attached", strings.Join(c.attachedNames(), " "))
	p.config.Log.Info("addresses", "api", filepath.Join(c.StateDir, api.SocketName), "secure", addressOf(c.Secure), "plain_xds", addressOf(c.PlainXDS), "admin", addressOf(c.Admin), "reading", addressOf(c.Reading))
	if c.RegistryFile == "" && c.awaitsRegistry() {
		p.config.Log.Info("waiting for what runs", "waits", admin.RegistrySource, "hint", awaitHint(filepath.Join(c.StateDir, api.SocketName)))
	}
}

// addressOf returns where a listener listens, "" for none.
func addressOf(l net.Listener) string {
	if l == nil {
		return ""
	}
	return l.Addr().String()
}

// tellSettings logs the settings of the mesh with the first snapshot and whenever they change, also those that nobody
// has set.
func (p *Plane) tellSettings(s *mesh.Settings) {
	if p.told != nil && reflect.DeepEqual(*p.told, *s) {
		return
	}
	p.told = s
	values := []any{slog.String("domain", p.config.Domain), slog.String("namespace", p.config.Namespace)}
	p.config.Log.Info("mesh settings", append(values, attrsOf(*s)...)...)
}

// attrsOf returns every field of a struct under its name in JSON.
func attrsOf(v any) []any {
	var attrs []any
	value := reflect.ValueOf(v)
	for i := range value.NumField() {
		name, _, _ := strings.Cut(value.Type().Field(i).Tag.Get("json"), ",")
		field := value.Field(i).Interface()
		if m, ok := field.(encoding.TextMarshaler); ok {
			if text, err := m.MarshalText(); err == nil {
				field = string(text)
			}
		}
		if list, ok := field.([]string); ok {
			field = strings.Join(list, " ")
		}
		attrs = append(attrs, slog.Any(name, field))
	}
	return attrs
}
