package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	suffix      = ".yaml"
	counterFile = ".version" // the highest resourceVersion ever given
	unfinished  = ".new"     // a file that is being written; what a crash left is overwritten by the next write
	maxFile     = 2 << 20    // more than any object that can be written
)

// folder keeps objects as files. Paths are inside root, which nothing leads out of.
type folder struct {
	root  *os.Root
	kinds config.Kinds
}

// place returns the path of an object's file. Names that are none of Kubernetes' have no place.
func (f *folder) place(kind *config.Kind, ref mesh.Ref) (string, error) {
	if !config.IsLabel(ref.Namespace) {
		return "", fmt.Errorf("%q is not a namespace", ref.Namespace)
	}
	if !config.IsDomain(ref.Name) || len(ref.Name)+len(suffix) > 255 {
		return "", fmt.Errorf("%q is not a name", ref.Name)
	}
	return path.Join(kind.Plural, ref.Namespace, ref.Name+suffix), nil
}

// load reads all objects. What cannot be read, or does not lie where it belongs, is a problem.
func (f *folder) load() (map[mesh.Ref]Stored, []mesh.Problem, error) {
	objects := map[mesh.Ref]Stored{}
	var problems []mesh.Problem
	err := fs.WalkDir(f.root.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || path.Ext(name) != suffix:
			return nil
		}
		o, bad := f.read(name)
		if len(bad) > 0 {
			problems = append(problems, bad...)
			return nil
		}
		objects[o.Ref] = o
		return nil
	})
	return objects, problems, err
}

// read reads the object in a file that was written by this package.
func (f *folder) read(name string) (Stored, []mesh.Problem) {
	file := path.Join(f.root.Name(), name)
	damaged := func(what string) (Stored, []mesh.Problem) {
		return Stored{}, []mesh.Problem{{
			Position: mesh.Position{File: file}, Code: CodeDamagedFile, Severity: mesh.Error, Message: what,
			Hint: "it is left alone and has no effect: mend it and start again, or write the object anew",
		}}
	}
	data, err := f.readFile(name)
	if err != nil {
		return damaged(err.Error())
	}
	objects, problems := config.Parse(file, data, "")
	if mesh.HasErrors(problems) {
		first := problems[0]
		return damaged(fmt.Sprintf("line %d: %s", first.Position.Line, first.Message))
	}
	if len(objects) != 1 {
		return damaged(fmt.Sprintf("it holds %d objects instead of one", len(objects)))
	}
	o := objects[0]
	kind := f.kinds.Find(o.APIVersion, o.Kind)
	if kind == nil {
		return damaged(fmt.Sprintf("%s of %s is not a known kind", o.Kind, o.APIVersion))
	}
	if want, err := f.place(kind, o.Ref); err != nil || want != name {
		return damaged("it holds " + o.String() + ", which does not belong there")
	}
	version, err := strconv.ParseInt(o.ResourceVersion, 10, 64)
	if err != nil || version < 1 {
		return damaged(fmt.Sprintf("its resourceVersion %q is not one", o.ResourceVersion))
	}
	return Stored{Object: o, Version: version}, nil
}

func (f *folder) readFile(name string) ([]byte, error) {
	file, err := f.root.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", name, maxFile)
	}
	return data, err
}

// write puts a file in place as a whole, and returns when it is on the disk.
func (f *folder) write(name string, data []byte) error {
	dir := path.Dir(name)
	if err := f.makeDir(dir); err != nil {
		return err
	}
	temporary := path.Join(dir, unfinished)
	file, err := f.root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	if err := f.root.Rename(temporary, name); err != nil {
		return err
	}
	return f.sync(dir)
}

// remove takes a file away, and returns when the disk knows.
func (f *folder) remove(name string) error {
	if err := f.root.Remove(name); err != nil {
		return err
	}
	return f.sync(path.Dir(name))
}

// makeDir makes a folder and those above it.
func (f *folder) makeDir(dir string) error {
	if _, err := f.root.Stat(dir); err == nil {
		return nil
	}
	if err := f.makeDir(path.Dir(dir)); err != nil {
		return err
	}
	if err := f.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	return f.sync(path.Dir(dir))
}

// sync makes what changed in a folder durable (fsync(2): a file's own fsync does not cover its name).
func (f *folder) sync(dir string) error {
	d, err := f.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// counter reads the highest resourceVersion ever given: 0 when there was none.
func (f *folder) counter() (int64, error) {
	data, err := f.readFile(counterFile)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	// A damaged counter is no reason not to start: the objects' own versions remain.
	version, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		version = 0
	}
	return cmp.Or(version, 0), nil
}

func (f *folder) setCounter(version int64) error {
	return f.write(counterFile, fmt.Appendln(nil, version))
}
