package main

import (
	"fmt"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// Users of the images. What the proxy's user sends is not captured, so no application may have its number.
const (
	meshUser   = 1337
	appUser    = 1000
	nobodyUser = 65534
)

// image says what an image is made of.
type image struct {
	name       string
	programs   [][]string // one layer each, so that images share them: where a program is on this machine
	database   string     // the folder that MariaDB is installed below; "": the image has none
	entrypoint []string
	user       int
	cluster    bool // for the test cluster alone: it is not pushed
}

// where a program is in an image.
func installed(program string) string { return "/usr/local/bin/" + filepath.Base(program) }

// images returns all images, made of the programs in a folder, and of the system's MariaDB where there is none in it.
func images(bin, system string) []image {
	at := func(name string) string { return filepath.Join(bin, name) }
	lateen, agent, envoy, testapp := at("lateen"), at("lateen-agent"), at("envoy"), at("testapp")
	pause, coredns := at("kubernetes/pause"), at("kubernetes/coredns")
	all := []image{
		{name: "lateen", programs: [][]string{{lateen}}, entrypoint: []string{installed(lateen)}, user: meshUser},
		{name: "lateen-proxy", programs: [][]string{{envoy}, {agent}}, entrypoint: []string{installed(agent)}, user: meshUser},
		{name: "lateen-bookinfo", programs: [][]string{{lateen}}, entrypoint: []string{installed(lateen), "bookinfo"}, user: appUser},
		{name: "lateen-testapp", programs: [][]string{{testapp}}, entrypoint: []string{installed(testapp)}, user: appUser},
		{name: "lateen-pause", programs: [][]string{{pause}}, entrypoint: []string{installed(pause)}, user: nobodyUser, cluster: true},
		{name: "lateen-coredns", programs: [][]string{{coredns}}, entrypoint: []string{installed(coredns)}, cluster: true},
	}
	if root := mariadb(bin, system); root != "" {
		start := at("startmariadb")
		all = append(all, image{name: "lateen-mariadb", programs: [][]string{{start}}, database: root, entrypoint: []string{installed(start)}, user: appUser})
	}
	return all
}

// build makes the image.
func (i image) build(cache *layerCache, tag string) (v1.Image, error) {
	base, err := cache.layer("base", baseFiles)
	if err != nil {
		return nil, err
	}
	layers := []v1.Layer{base}
	for _, programs := range i.programs {
		layer, err := cache.layer(fmt.Sprint(programs), func() (files, error) { return programFiles(programs) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	if i.database != "" {
		layer, err := cache.layer(i.database, func() (files, error) { return mariadbFiles(i.database) })
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
	}
	built, err := mutate.AppendLayers(empty.Image, layers...)
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(built, i.config(built, tag))
}

// config says how the image is started.
func (i image) config(built v1.Image, tag string) *v1.ConfigFile {
	config := &v1.ConfigFile{
		Architecture: runtime.GOARCH,
		OS:           "linux",
		Created:      v1.Time{Time: time.Unix(0, 0).UTC()},
		Config: v1.Config{
			Entrypoint: i.entrypoint,
			Env:        []string{"PATH=/usr/local/bin"},
			User:       fmt.Sprintf("%d:%d", i.user, i.user),
			WorkingDir: "/",
			Labels:     map[string]string{"org.opencontainers.image.title": i.name, "org.opencontainers.image.version": tag},
		},
	}
	if had, err := built.ConfigFile(); err == nil { // made in memory: it cannot fail
		config.RootFS, config.History = had.RootFS, had.History
	}
	return config
}
