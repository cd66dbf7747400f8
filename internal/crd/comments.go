package crd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"strings"
)

// Comments are the comments on types and their fields, by import path, type and field: "PATH.TYPE" or "PATH.TYPE.FIELD".
// Behind "=PATH.TYPE" stands the type of the same package whose fields such a type has.
type Comments map[string]string

// ReadComments reads the comments of all packages below a folder of a checkout, which is where the module's sources lie.
func ReadComments(checkout fs.FS, module, folder string) (Comments, error) {
	comments := Comments{}
	return comments, fs.WalkDir(checkout, folder, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".go" || strings.HasSuffix(name, "_test.go") {
			return err
		}
		text, err := fs.ReadFile(checkout, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		comments.take(path.Join(module, path.Dir(name)), file)
		return nil
	})
}

func (c Comments) take(pkg string, file *ast.File) {
	for _, declared := range file.Decls {
		general, ok := declared.(*ast.GenDecl)
		if !ok || general.Tok != token.TYPE {
			continue
		}
		for _, spec := range general.Specs {
			t, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			at := pkg + "." + t.Name.Name
			c.put(at, general.Doc, t.Doc, t.Comment)
			switch like := t.Type.(type) {
			case *ast.StructType:
				for _, field := range like.Fields.List {
					for _, name := range field.Names {
						c.put(at+"."+name.Name, field.Doc, field.Comment)
					}
				}
			case *ast.Ident:
				c["="+at] = pkg + "." + like.Name
			}
		}
	}
}

func (c Comments) put(at string, groups ...*ast.CommentGroup) {
	for _, group := range groups {
		if text := strings.Join(strings.Fields(group.Text()), " "); text != "" {
			c[at] = text
			return
		}
	}
}

// of returns the comment on a type, or on one of its fields. The word that Go wants at the beginning, the name of the type,
// says nothing to who writes objects, so that it is left out.
func (c Comments) of(t reflect.Type, field string) string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Name() == "" {
		return ""
	}
	at := t.PkgPath() + "." + t.Name()
	if field != "" {
		for c["="+at] != "" {
			at = c["="+at]
		}
		return sentence(c[at+"."+field])
	}
	text := c[at]
	for _, verb := range []string{" is ", " says ", " names ", " tells "} {
		if rest, ok := strings.CutPrefix(text, t.Name()+verb); ok {
			if verb != " is " {
				rest = strings.TrimPrefix(verb, " ") + rest
			}
			return sentence(rest)
		}
	}
	return sentence(text)
}

// sentence returns words with a capital at the beginning and a full stop at the end.
func sentence(words string) string {
	if words == "" {
		return ""
	}
	return strings.ToUpper(words[:1]) + strings.TrimSuffix(words[1:], ".") + "."
}
