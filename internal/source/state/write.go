package state

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Codes of problems. They are fixed: docs/reference/problems.md shows them, and users match on them.
const (
	// CodeConflict: the object was changed since it was read.
	CodeConflict = "conflict"
	// CodeAlreadyExists: there is an object of this kind, namespace and name.
	CodeAlreadyExists = "already-exists"
	// CodeNotFound: there is none.
	CodeNotFound = "not-found"
	// CodeNotStored: the object could not be written to the disk.
	CodeNotStored = "not-stored"
	// CodeDamagedFile: a file in the state folder is not as it was written.
	CodeDamagedFile = "damaged-file"
)

// Op says what a write does with each object.
type Op string

// Create refuses an object that exists, Replace one that does not, Apply takes both.
const (
	Create  Op = "create"
	Replace Op = "replace"
	Apply   Op = "apply"
)

// Verb says what was done with an object.
type Verb string

// What can be done.
const (
	Created   Verb = "created"
	Updated   Verb = "updated"
	Unchanged Verb = "unchanged"
	Deleted   Verb = "deleted"
)

// Change is what was done with one object.
type Change struct {
	Verb    Verb
	Object  mesh.Ref
	Version int64 // of the object; of a deleted one the last
}

// Outcome tells what a write or a deletion did. An object that has a problem is as it was.
type Outcome struct {
	Changes  []Change
	Problems []mesh.Problem
	Revision int64 // of the snapshot that holds the changes
}

// Write writes objects one after another. A problem of one does not keep the others from being written. An error means
// that what was written could not be handed over; it will be with the next change.
func (s *Source) Write(ctx context.Context, op Op, objects []config.Object) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out Outcome
	if err := s.folder.setCounter(s.version + int64(len(objects))); err != nil {
		return out, fmt.Errorf("count versions: %w", err)
	}
	for i := range objects {
		change, problem := s.write(op, &objects[i])
		if problem != nil {
			out.Problems = append(out.Problems, *problem)
			continue
		}
		out.Changes = append(out.Changes, change)
	}
	return s.conclude(ctx, out)
}

// Delete deletes objects. A problem of one does not keep the others from being deleted.
func (s *Source) Delete(ctx context.Context, refs []mesh.Ref) (Outcome, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out Outcome
	for _, ref := range refs {
		change, problem := s.delete(ref)
		if problem != nil {
			out.Problems = append(out.Problems, *problem)
			continue
		}
		out.Changes = append(out.Changes, change)
	}
	return s.conclude(ctx, out)
}

// conclude hands over what changed. The lock is held.
func (s *Source) conclude(ctx context.Context, out Outcome) (Outcome, error) {
	for _, c := range out.Changes {
		if c.Verb != Unchanged {
			err := s.publish(ctx, out.Changes)
			out.Revision = s.revision
			return out, err
		}
	}
	out.Revision = s.revision
	return out, nil
}

// write writes one object. The lock is held.
func (s *Source) write(op Op, o *config.Object) (Change, *mesh.Problem) {
	old, exists := s.objects[o.Ref]
	if p := s.refuse(op, o, old, exists); p != nil {
		return Change{}, p
	}
	if exists && same(&old.Object, o) && op == Apply {
		return Change{Verb: Unchanged, Object: o.Ref, Version: old.Version}, nil
	}
	stored, err := s.store(o, s.version+1)
	if err != nil {
		p := o.Problem(CodeNotStored, "", "not stored: %v", err)
		return Change{}, &p
	}
	s.version = stored.Version
	s.objects[o.Ref] = stored
	verb := Created
	if exists {
		verb = Updated
	}
	s.config.Log.Info("object written", "object", o.String(), "version", stored.Version)
	return Change{Verb: verb, Object: o.Ref, Version: stored.Version}, nil
}

// refuse says why an object may not be written, or nil.
func (s *Source) refuse(op Op, o *config.Object, old Stored, exists bool) *mesh.Problem {
	version := ""
	if exists {
		version = strconv.FormatInt(old.Version, 10)
	}
	return Refuse(op, o, version, s.refs)
}

func (s *Source) refs() []mesh.Ref { return slices.Collect(maps.Keys(s.objects)) }

// Refuse says why an object may not be written where one of its name is at a version, "" for none; or nil. It asks for the
// names of others only to say which one may be meant.
func Refuse(op Op, o *config.Object, version string, others func() []mesh.Ref) *mesh.Problem {
	exists := version != ""
	var p mesh.Problem
	switch {
	case op == Create && exists:
		p = o.Problem(CodeAlreadyExists, "metadata.name", "it exists already, at revision %s", version)
		p.Hint = "change it with `lateen replace` or `lateen apply`"
	case op == Create && o.ResourceVersion != "":
		p = o.Problem(config.CodeInvalidValue, "metadata.resourceVersion", "a new object has no resourceVersion yet")
		p.Hint = "leave it out"
	case op == Replace && !exists:
		p = Missing(o.Ref, others())
		p.Position = o.At("metadata.name")
		if p.Hint == "" {
			p.Hint = "write it with `lateen create` or `lateen apply`"
		}
	case o.ResourceVersion != "" && !exists:
		p = o.Problem(CodeConflict, "metadata.resourceVersion", "revision %s was read, and the object was deleted since", o.ResourceVersion)
		p.Hint = "leave the resourceVersion out to write it anew"
	case o.ResourceVersion != "" && o.ResourceVersion != version:
		p = o.Problem(CodeConflict, "metadata.resourceVersion", "revision %s was read, and the object is at revision %s now", o.ResourceVersion, version)
		p.Hint = "read it again with `lateen get`, or leave the resourceVersion out to overwrite it"
	default:
		return nil
	}
	return &p
}

// Missing says that there is no such object, and which one of others may be meant.
func Missing(ref mesh.Ref, others []mesh.Ref) mesh.Problem {
	p := mesh.Problem{Object: ref, Code: CodeNotFound, Severity: mesh.Error, Message: "there is no such object"}
	var names []string
	for _, other := range others {
		switch {
		case other.Kind != ref.Kind:
		case other.Name == ref.Name:
			p.Hint = "there is one in namespace " + other.Namespace
		case other.Namespace == ref.Namespace:
			names = append(names, other.Name)
		}
	}
	slices.Sort(names)
	if near := config.Nearest(ref.Name, names); near != "" {
		p.Hint = fmt.Sprintf("did you mean %q?", near)
	}
	return p
}

// store puts an object on the disk with a version.
func (s *Source) store(o *config.Object, version int64) (Stored, error) {
	name, err := s.name(o.APIVersion, o.Ref)
	if err != nil {
		return Stored{}, err
	}
	text, err := stamp(o, version)
	if err != nil {
		return Stored{}, err
	}
	if err := s.folder.disk.Write(name, text); err != nil {
		return Stored{}, err
	}
	stored, problems := s.folder.read(name)
	if len(problems) > 0 {
		return Stored{}, errors.New(problems[0].String())
	}
	before := len(s.problems)
	s.problems = slices.DeleteFunc(s.problems, func(p mesh.Problem) bool { return p.Position.File == stored.Origin.File })
	s.complete = s.complete && len(s.problems) == before // an edit tells no problems
	return stored, nil
}

// delete deletes one object. The lock is held.
func (s *Source) delete(ref mesh.Ref) (Change, *mesh.Problem) {
	old, exists := s.objects[ref]
	if !exists {
		p := Missing(ref, s.refs())
		return Change{}, &p
	}
	name, err := s.name(old.APIVersion, ref)
	if err == nil {
		err = s.folder.disk.Remove(name)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		p := old.Problem(CodeNotStored, "", "not deleted: %v", err)
		return Change{}, &p
	}
	delete(s.objects, ref)
	s.config.Log.Info("object deleted", "object", ref.String(), "version", old.Version)
	return Change{Verb: Deleted, Object: ref, Version: old.Version}, nil
}

func (s *Source) name(apiVersion string, ref mesh.Ref) (string, error) {
	kind := s.config.Kinds.Find(apiVersion, ref.Kind)
	if kind == nil {
		return "", fmt.Errorf("%s of %s is not a known kind", ref.Kind, apiVersion)
	}
	return s.folder.place(kind, ref)
}
