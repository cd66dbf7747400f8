package cli

import (
	"fmt"
	"io"
	"os"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/source/file"
)

// Bounds of what a command reads.
const (
	maxInput = 7 << 20   // all files: a little less than what a request may have
	maxFile  = 1<<20 + 1 // one file: more than package config takes, which then tells that, and the other files count
)

// readFiles reads what -f names: files, folders, or "-" for the standard input.
func readFiles(paths []string, stdin io.Reader) ([]api.File, error) {
	if len(paths) == 0 {
		return nil, misused("", "filename not specified (see --filename or -f)")
	}
	var files []api.File
	left := int64(maxInput)
	for _, path := range paths {
		names := []string{path}
		if path != "-" {
			listed, err := file.List(path)
			if err != nil {
				return nil, err
			}
			if len(listed) == 0 {
				return nil, failed("", "%s: no *.yaml, *.yml or *.json file in this folder", path)
			}
			names = listed
		}
		for _, name := range names {
			f, err := readFile(name, stdin, left)
			if err != nil {
				return nil, err
			}
			left -= int64(len(f.Text))
			files = append(files, f)
		}
	}
	return files, nil
}

// readFile reads a file of at most so many bytes. Of one that is larger than a file may be it reads as much as shows that.
func readFile(name string, stdin io.Reader, most int64) (api.File, error) {
	in := stdin
	if name == "-" {
		name = "stdin"
	} else {
		f, err := os.Open(name)
		if err != nil {
			return api.File{}, err
		}
		defer f.Close()
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, min(most, maxFile)+1))
	if err != nil {
		return api.File{}, fmt.Errorf("read %s: %w", name, err)
	}
	if int64(len(text)) > most {
		return api.File{}, failed("give them in several steps", "%s: the files have more than %d bytes", name, maxInput)
	}
	return api.File{Name: name, Text: string(text)}, nil
}
