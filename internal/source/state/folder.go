package state

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/disk"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

const (
	suffix      = ".yaml"
	counterFile = ".version" // the highest resourceVersion ever given
	maxFile     = 2 << 20    // more than any object that can be written
)

// folder keeps objects as files.
type folder struct {
	disk  *disk.Folder
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
	err := fs.WalkDir(f.disk.FS(), ".", func(name string, entry fs.DirEntry, err error) error {
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
	file := f.disk.Path(name)
	at := mesh.Position{File: file}
	damaged := func(what string) (Stored, []mesh.Problem) {
		return Stored{}, []mesh.Problem{{
			Position: at, Code: CodeDamagedFile, Severity: mesh.Error, Message: what,
			Hint: "it is left alone and has no effect: mend it and start again, or write the object anew",
		}}
	}
	data, err := f.disk.Read(name, maxFile)
	if err != nil {
		return damaged(err.Error())
	}
	objects, problems := config.Parse(file, data, "")
	if mesh.HasErrors(problems) {
		at = problems[0].Position
		return damaged(problems[0].Message)
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

// counter reads the highest resourceVersion ever given: 0 when there was none.
func (f *folder) counter() (int64, error) {
	data, err := f.disk.Read(counterFile, maxFile)
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
	return f.disk.Write(counterFile, fmt.Appendln(nil, version))
}
