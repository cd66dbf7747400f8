package v1alpha2

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// notInToken tells which characters RFC 9110 (5.6.2) keeps out of the names of headers.
func notInToken(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("!#$%&'*+-.^_`|~", r)
}

func isToken(s string) bool { return s != "" && strings.IndexFunc(s, notInToken) < 0 }

// badName is the problem with a name at field that no header can have.
func badName(field, name string) mesh.Problem {
	return mesh.Problem{Field: field, Code: config.CodeInvalidName, Message: fmt.Sprintf("%.70q is not the name of a header", name)}
}

// lowerCase reports a name at field that is not in lower case.
func (t *translator) lowerCase(field, name string) {
	if lower := strings.ToLower(name); name != lower {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidName,
			Message: "names of headers are written in lower case here", Hint: fmt.Sprintf("write %q", lower),
		})
	}
}

// override returns the header that takes the place of a value, at overrideHeaderName below field; "" when there is none.
func (t *translator) override(field, name string) string {
	field += ".overrideHeaderName"
	switch {
	case name == "":
		return ""
	case !isToken(name):
		t.Tell(badName(field, name))
	case name == "host" || strings.HasPrefix(name, "x-envoy-"):
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeInvalidName,
			Message: fmt.Sprintf("the header %.70q means something of its own to proxies", name), Hint: "take another name",
		})
	default:
		t.lowerCase(field, name)
	}
	return name
}

// headerNames checks names of headers in any case and returns them in lower case.
func (t *translator) headerNames(field string, names []string) []string {
	var all []string
	for i, name := range names {
		if !isToken(name) {
			t.Tell(badName(config.Item(field, i), name))
		}
		all = append(all, strings.ToLower(name))
	}
	return all
}

// framing are headers that frame a message; proxies write them themselves.
var framing = []string{"connection", "content-length", "host", "transfer-encoding"}

// appended returns the headers to add to requests, sorted by name.
func (t *translator) appended(field string, headers map[string]string) []mesh.Header {
	var all []mesh.Header
	for _, key := range slices.Sorted(maps.Keys(headers)) {
		at := config.Key(field, key)
		h := mesh.Header{Name: strings.ToLower(key), Value: headers[key]}
		switch {
		case !isToken(key):
			t.Tell(badName(at, key))
		case slices.Contains(framing, h.Name):
			p := mesh.Problem{Field: at, Code: config.CodeInvalidName, Message: fmt.Sprintf("the header %q cannot be added", key)}
			if h.Name == "host" {
				p.Hint = "write rewrite: {authority: …} to change the host"
			}
			t.Tell(p)
		case slices.ContainsFunc(all, func(known mesh.Header) bool { return known.Name == h.Name }):
			t.Tell(mesh.Problem{
				Field: at, Code: config.CodeDuplicateField, Message: "the header is there twice: case does not matter in its name",
			})
		default:
			t.headerValue(at, h.Value)
		}
		all = append(all, h)
	}
	slices.SortStableFunc(all, func(a, b mesh.Header) int { return cmp.Compare(a.Name, b.Name) })
	return all
}

// headerValue checks the value of a header against RFC 9110 (5.5).
func (t *translator) headerValue(field, value string) {
	p := mesh.Problem{Field: field, Code: config.CodeInvalidValue}
	switch i := strings.IndexFunc(value, func(r rune) bool { return (r < ' ' && r != '\t') || r == 0x7f }); {
	case value == "":
		p.Message = "a header that is added needs a value"
	case len(value) > maxText:
		p.Code, p.Message = config.CodeTooLarge, fmt.Sprintf("the value has %d bytes: at most %d are allowed", len(value), maxText)
	case i >= 0:
		p.Message = fmt.Sprintf("the value of a header must not contain %.1q", value[i:])
	case strings.Trim(value, " \t") != value:
		p.Message = "the value of a header begins and ends with no space"
	default:
		return
	}
	t.Tell(p)
}
