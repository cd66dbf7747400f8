// Images builds the container images of this repository without a container engine: as archives that `docker load`, `kind load
// image-archive` and `ctr images import` take, or in a registry.
//
//	go run ./images -bin ../bin -out ../bin/images [-tag TAG] [-push REGISTRY/PREFIX]
//
// The same programs make the same bytes: names are sorted, and times and owners are zero. No image has a shell, and none but
// the DNS of the test cluster runs as root. A program that is linked dynamically, as Envoy is, brings the libraries that
// this machine would load for it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	if err := run(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "images: error:", err)
		os.Exit(1)
	}
}

func run(args []string, out, errs io.Writer) error {
	flags := flag.NewFlagSet("images", flag.ContinueOnError)
	bin := flags.String("bin", "../bin", "the folder with the programs")
	dir := flags.String("out", "../bin/images", "the folder for the archives")
	tag := flags.String("tag", "dev", "the tag of the images")
	system := flags.String("system", "/", "the root of the system, whose MariaDB is taken where the folder has none")
	push := flags.String("push", "", "REGISTRY/PREFIX that takes the images, instead of archives")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if err := os.MkdirAll(*dir, 0o755); err != nil {
		return err
	}
	layers := layerCache{compressed: *push != ""}
	all := images(*bin, *system)
	if !slices.ContainsFunc(all, func(i image) bool { return i.database != "" }) {
		if *push != "" {
			return errors.New("lateen-mariadb cannot be made, since there is no MariaDB: `make mariadb` fetches it")
		}
		fmt.Fprintln(errs, "images: there is no MariaDB, and so no lateen-mariadb: `make mariadb` fetches it")
	}
	for _, i := range all {
		built, err := i.build(&layers, *tag)
		if err != nil {
			return fmt.Errorf("%s: %w", i.name, err)
		}
		switch {
		case *push == "":
			file := filepath.Join(*dir, i.name+".tar")
			if err := archive(file, i.name+":"+*tag, built); err != nil {
				return err
			}
			fmt.Fprintln(out, file)
		case !i.cluster:
			pushed, err := upload(*push+"/"+i.name+":"+*tag, built)
			if err != nil {
				return fmt.Errorf("push: %w", err)
			}
			fmt.Fprintln(out, pushed)
		}
	}
	return nil
}

// archive writes an image to a file, at once.
func archive(file, reference string, built v1.Image) error {
	tag, err := name.NewTag(reference)
	if err != nil {
		return err
	}
	if err := tarball.WriteToFile(file+".new", tag, built); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return os.Rename(file+".new", file)
}

// upload gives an image to a registry, with the credentials that `docker login` has stored, and returns its name by digest.
func upload(reference string, built v1.Image) (string, error) {
	tag, err := name.NewTag(reference)
	if err != nil {
		return "", err
	}
	if err := remote.Write(tag, built, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return "", err
	}
	digest, err := built.Digest()
	return tag.String() + "@" + digest.String(), err
}
