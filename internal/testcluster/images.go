package testcluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Images that the cluster itself needs, as `make images` names them.
const (
	pauseImage = "lateen-pause:dev"
	dnsImage   = "lateen-coredns:dev"
)

// imageFile is the archive of an image.
func (c Cluster) imageFile(image string) string {
	name, _, _ := strings.Cut(image, ":")
	return filepath.Join(c.Root, "bin/images", name+".tar")
}

// LoadImages gives image archives to the cluster, all that `make images` has built if none is named. Pods that are started
// later run them.
func (c Cluster) LoadImages(ctx context.Context, files ...string) error {
	if _, up := c.up(); !up {
		return errDown
	}
	if len(files) == 0 {
		var err error
		if files, err = filepath.Glob(c.imageFile("*")); err != nil {
			return err
		}
	}
	for _, file := range files {
		if err := c.loadImage(ctx, file); err != nil {
			return err
		}
	}
	return nil
}

func (c Cluster) loadImage(ctx context.Context, file string) error {
	ctr, err := Program("ctr")
	if err != nil {
		return err
	}
	return run(ctx, "", ctr, "--address", c.socket(), "--namespace=k8s.io", "images", "import", "--all-platforms", file)
}

// awaitContainerd returns when containerd takes images.
func (r *runner) awaitContainerd(ctx context.Context) error {
	return poll(ctx, "containerd", func() error {
		if _, err := os.Stat(r.socket()); err != nil {
			return err
		}
		once, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if err := run(once, "", r.programs.ctr, "--address", r.socket(), "version"); err != nil {
			return errors.Join(errors.New("no answer"), err)
		}
		return nil
	})
}
