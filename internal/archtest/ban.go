package archtest

import (
	"fmt"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// ban is one thing that a row says never to use.
type ban struct {
	text  string // as the table says it
	match func(imported string) bool
	// but are the last elements of the packages of the row to which the ban does not apply.
	but []string
	// qualifier and name are what must not be mentioned, for a ban such as `time.Now`.
	qualifier, name string
	oneAnother      bool
}

const envoyMessages = "github.com/envoyproxy/go-control-plane"

// families are the words of the table that stand for many import paths.
var families = map[string]func(imported string) bool{
	"Kubernetes": func(imported string) bool {
		return under("k8s.io", imported) || under("sigs.k8s.io", imported) && !under("sigs.k8s.io/yaml", imported)
	},
	"Envoy": func(imported string) bool { return under(envoyMessages, imported) },
	"of Envoy only its service messages": func(imported string) bool {
		return under(envoyMessages, imported) && !under(envoyMessages+"/envoy/service", imported)
	},
	"I/O": func(imported string) bool {
		// net/netip and net/url only compute.
		return imported == "net" || underAny(imported, "net/http", "net/rpc", "net/smtp", "os", "syscall", "io/ioutil",
			"golang.org/x/sys", "google.golang.org/grpc")
	},
	"logging": func(imported string) bool { return under("log", imported) },
	"anything outside the standard library": func(imported string) bool {
		first, _, _ := strings.Cut(imported, "/")
		return strings.Contains(first, ".")
	},
}

// under tells whether an import path is root or below it.
func under(root, imported string) bool {
	return imported == root || strings.HasPrefix(imported, root+"/")
}

func underAny(imported string, roots ...string) bool {
	for _, root := range roots {
		if under(root, imported) {
			return true
		}
	}
	return false
}

var symbol = regexp.MustCompile(`^(\w+)\.(\p{Lu}\w*)$`)

// parseBan reads one clause: a family, an import path or a symbol in backticks, either with "but in `package`", or "one
// another".
func parseBan(clause string) (ban, error) {
	b := ban{text: clause}
	subject, except, _ := strings.Cut(clause, " but in ")
	var err error
	if b.but, err = parseNames(except); err != nil {
		return ban{}, err
	}
	if subject == "one another" {
		b.oneAnother = true
		return b, nil
	}
	if match, ok := families[subject]; ok {
		b.match = match
		return b, nil
	}
	names, err := parseNames(subject)
	if err != nil || len(names) != 1 || strings.IndexFunc(names[0], unicode.IsSpace) >= 0 {
		return ban{}, fmt.Errorf("%q is nothing that the column \"never\" can say", clause)
	}
	if parts := symbol.FindStringSubmatch(names[0]); parts != nil {
		b.qualifier, b.name = parts[1], parts[2]
	} else {
		b.match = func(imported string) bool { return under(names[0], imported) }
	}
	return b, nil
}

// check says where a package of row r does what is banned.
func (b ban) check(p goPackage, r row) []string {
	for _, name := range b.but {
		if path.Base(p.name) == name {
			return nil
		}
	}
	var wrong []string
	for _, imported := range p.imports {
		name, ours := own(imported)
		if b.match != nil && b.match(imported) || b.oneAnother && ours && matches(r.packages, name) {
			wrong = append(wrong, fmt.Sprintf("package %s imports %s; its row says never: %s", p.name, imported, b.text))
		}
	}
	if b.name == "" {
		return wrong
	}
	for _, file := range p.files {
		for _, place := range file.mentions(b.qualifier, b.name) {
			wrong = append(wrong, fmt.Sprintf("%s: package %s mentions %s.%s; its row says never: %s",
				place, p.name, b.qualifier, b.name, b.text))
		}
	}
	return wrong
}
