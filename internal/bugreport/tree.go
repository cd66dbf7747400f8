package bugreport

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// JSON returns a document of JSON without secrets, for people to read; what is none is taken for a text.
func (r *Redactor) JSON(text []byte) []byte {
	var tree any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if err := d.Decode(&tree); err != nil || d.More() {
		return r.Text(text)
	}
	shown, err := Document(r.tree(tree, false))
	if err != nil {
		return r.Text(text)
	}
	return shown
}

// Document writes a value as JSON for people to read.
func Document(value any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	return b.Bytes(), err
}

// tree redacts a tree; below the name of a secret no text is left.
func (r *Redactor) tree(value any, secret bool) any {
	switch v := value.(type) {
	case map[string]any:
		isPair := isSecretPair(v)
		shown := make(map[string]any, len(v))
		for key, child := range v {
			name := r.text(key)
			switch {
			case !secret && isHeaders(key):
				shown[name] = r.headers(key, child)
			case isPair && slices.Contains(namesOfPairs, key):
				shown[name] = r.tree(child, secret)
			default:
				shown[name] = r.tree(child, secret || isPair || isCredential(key))
			}
		}
		return shown
	case []any:
		afterFlag := false
		for i := range v {
			s, _ := v[i].(string)
			v[i] = r.tree(v[i], secret || afterFlag)
			afterFlag = wholeFlag.MatchString(s)
		}
		return v
	case string:
		if secret && v != "" {
			return NotShown
		}
		return r.text(v)
	default:
		return v
	}
}

// wholeFlag is a flag whose value is the next one of a list.
var wholeFlag = regexp.MustCompile(`(?i)^--?[a-z0-9-]*` + words + `[a-z0-9-]*$`)

// isHeaders tells whether what is called so are headers, with what rules look for in them or put there, or parameters of queries.
func isHeaders(key string) bool {
	switch key {
	case "headers", "header", "appendHeaders", "queryParameters", "initialMetadata":
		return true
	}
	return strings.HasSuffix(key, "HeadersToAdd")
}

// headers leaves of headers their names, and the values of those that are parts of every request.
func (r *Redactor) headers(key string, value any) any {
	switch v := value.(type) {
	case []any: // of pairs: Envoy's matchers and values
		for i := range v {
			v[i] = r.headers("header", v[i])
		}
		return v
	case map[string]any:
		shown := make(map[string]any, len(v))
		pairs := key == "header"
		whole, _ := v["name"].(string)
		for name, child := range v {
			switch {
			case pairs && name == "header":
				shown[name] = r.headers(name, child)
			case pairs && (slices.Contains(namesOfPairs, name) || name == "appendAction"),
				pairs && isPseudoHeader(whole),
				key == "headers" && slices.Contains([]string{"uri", "method", "authority", "scheme"}, name):
				shown[name] = r.tree(child, false)
			default:
				shown[r.text(name)] = r.tree(child, true)
			}
		}
		return shown
	default:
		return r.tree(value, true)
	}
}

func isPseudoHeader(name string) bool {
	return slices.Contains([]string{":path", ":method", ":authority", ":scheme"}, name)
}

// namesOfPairs are the fields in which pairs of a name and a value have the name, and valuesOfPairs those of the value.
var (
	namesOfPairs  = []string{"name", "key", "header", "headerName"}
	valuesOfPairs = []string{
		"value", "values", "rawValue", "exact", "prefix", "suffix", "regex", "stringMatch", "exactMatch", "prefixMatch", "suffixMatch",
		"containsMatch", "safeRegexMatch", "rangeMatch",
	}
)

// isSecretPair tells whether a value is a pair with the name of a secret: {"name": "cookie", "value": …}.
func isSecretPair(v map[string]any) bool {
	has := func(key string) bool { return v[key] != nil }
	named := func(key string) bool {
		name, _ := v[key].(string)
		return isCredential(name)
	}
	return slices.ContainsFunc(namesOfPairs, named) && slices.ContainsFunc(valuesOfPairs, has)
}

var credential = regexp.MustCompile(`(?i)` + words)

// harmless are names of fields in which a word of secrets is, and that hold names.
var harmless = []string{
	"imagePullSecrets", "automountServiceAccountToken", "serviceAccountToken", "secretName", "sessionAffinity", "sessionAffinityConfig",
	"tlsCertificateSdsSecretConfigs", "validationContextSdsSecretConfig",
}

// isCredential tells by its name whether a value may prove who somebody is.
func isCredential(name string) bool {
	return !slices.Contains(harmless, name) && credential.MatchString(name)
}

// stringKeys gives a tree of YAML the keys of JSON.
func stringKeys(value any) any {
	switch v := value.(type) {
	case map[any]any:
		all := make(map[string]any, len(v))
		for key, child := range v {
			all[fmt.Sprint(key)] = stringKeys(child)
		}
		return all
	case map[string]any:
		for key, child := range v {
			v[key] = stringKeys(child)
		}
	case []any:
		for i := range v {
			v[i] = stringKeys(v[i])
		}
	}
	return value
}
