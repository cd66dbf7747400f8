package bugreport

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// NotShown stands in the place of what is left out.
const NotShown = "[redacted]"

// Redactor takes secrets out of texts. It goes by what they look like: keys in PEM, tokens in the form of JWT, user and password in a
// URL, values in its query, and whatever a name such as "password" or "authorization" stands before, in the forms of YAML, JSON, logs,
// headers and flags; also where all that is written in base64. And it goes by the very secrets that it is told.
type Redactor struct {
	// System is the namespace of the control plane: what its containers are told is shown.
	System   string
	literals []string
	known    *strings.Replacer // of the literals
}

// minLiteral is how long a secret must be to be looked for by its bytes: shorter ones stand in innocent words.
const minLiteral = 8

// NewRedactor returns one that knows these secrets. Of a text in PEM it is the lines of its keys.
func NewRedactor(secrets ...[]byte) *Redactor {
	r := &Redactor{System: mesh.SystemNamespace}
	var pairs []string
	for _, s := range secrets {
		for _, l := range literals(string(s)) {
			r.literals = append(r.literals, l)
			pairs = append(pairs, l, NotShown)
		}
	}
	r.known = strings.NewReplacer(pairs...)
	return r
}

// literals returns what must not be in any text.
func literals(secret string) []string {
	lines := []string{secret}
	if strings.Contains(secret, "-----BEGIN ") {
		lines = nil
		for _, key := range pemKey.FindAllString(secret, -1) {
			lines = append(lines, strings.Split(key, "\n")...)
		}
	}
	var all []string
	for _, l := range lines {
		if l = strings.TrimSpace(l); len(l) >= minLiteral && !strings.HasPrefix(l, "-----") {
			all = append(all, l)
		}
	}
	return all
}

const words = `(?:password|passwd|passphrase|secret|token|api[-_]?key|authorization|credential|private[-_]?key|access[-_]?key|cookie)`

// What a secret looks like. What stands in the first group stays.
var (
	pemKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`)
	// keyEnd is the end of a key whose beginning was cut off.
	keyEnd = regexp.MustCompile(`\A[A-Za-z0-9+/=\s\\]*-----END [A-Z0-9 ]*PRIVATE KEY-----`)
	jwt    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*`)
	// userinfo is that of a URL (RFC 3986, section 3.2.1), also where its scheme is missing.
	userinfo = regexp.MustCompile(`([A-Za-z0-9._~%!$&*+;=-]*:)[^\s/"'@]+@`)
	query    = regexp.MustCompile(`([?&][A-Za-z0-9_.~%\[\]-]+=)[^&\s"'<>#\\]+`)
	scheme   = regexp.MustCompile(`(?i)(\b(?:bearer|basic|digest|negotiate)\s+)[A-Za-z0-9._~+/=-]{6,}`)
	flagged  = regexp.MustCompile(`(?i)(--[a-z0-9-]*` + words + `s?\s+)[^\s-]\S*`)
	// named is a value with the name of a secret before it.
	named = regexp.MustCompile(`(?i)([a-z0-9_.-]*` + words + `s?(?:\\?["']?[ \t]*[:=][ \t]*|'[ \t]*,[ \t]*))` +
		`(?:\\"[^"\\]*\\"|"(?:[^"\\]|\\.)*"|'[^']*'|(?:(?:bearer|basic|digest|negotiate)\s+)?[^\s"'&,;}\]\\]+)`)
)

// Text returns a text without secrets.
func (r *Redactor) Text(text []byte) []byte { return []byte(r.text(string(text))) }

// text redacts line by line what stands in a line, since looking for everything everywhere takes long.
func (r *Redactor) text(s string) string {
	if strings.Contains(s, keyMark) {
		s = keyEnd.ReplaceAllLiteralString(s, NotShown)
		s = pemKey.ReplaceAllLiteralString(s, NotShown)
	}
	s = r.known.Replace(s)
	var b strings.Builder
	b.Grow(len(s))
	for line := range strings.Lines(s) {
		b.WriteString(r.withoutEncoded(plain(line)))
	}
	return b.String()
}

// keyMark stands at the beginning and the end of every key.
const keyMark = "PRIVATE KEY-----"

// looks are looked for where a line has one of the words in lower case.
var looks = []struct {
	words []string
	look  *regexp.Regexp
}{
	{[]string{"pass", "secret", "token", "key", "authorization", "credential", "cookie"}, named},
	{[]string{"--"}, flagged},
	{[]string{"bearer", "basic", "digest", "negotiate"}, scheme},
	{[]string{"?", "&"}, query},
}

// plain takes out what is written plainly in a line.
func plain(line string) string {
	lower := strings.ToLower(line)
	if strings.Contains(line, "eyJ") {
		line = jwt.ReplaceAllLiteralString(line, NotShown)
	}
	for _, l := range looks {
		if slices.ContainsFunc(l.words, func(word string) bool { return strings.Contains(lower, word) }) {
			line = l.look.ReplaceAllString(line, "${1}"+NotShown)
		}
	}
	if strings.Contains(line, "@") {
		line = withoutUserinfo(line)
	}
	return line
}

// withoutUserinfo takes out passwords in URLs. A digest of an image stands behind an @ too.
func withoutUserinfo(s string) string {
	var b strings.Builder
	last := 0
	for _, at := range userinfo.FindAllStringSubmatchIndex(s, -1) {
		if strings.HasPrefix(s[at[1]:], "sha256:") {
			continue
		}
		b.WriteString(s[last:at[3]] + NotShown + "@")
		last = at[1]
	}
	b.WriteString(s[last:])
	return b.String()
}

// alphabet makes one alphabet of base64 of the other.
var alphabet = strings.NewReplacer("-", "+", "_", "/")

// minEncoded is how long a run of characters must be to be taken for base64.
const minEncoded = 16

// withoutEncoded takes out of a line what is base64 of something with a secret.
func (r *Redactor) withoutEncoded(line string) string {
	var b strings.Builder
	last := 0
	for i := 0; i < len(line); i++ {
		begin := i
		for i < len(line) && isBase64(line[i]) {
			i++
		}
		if i-begin >= minEncoded && r.hides(line[begin:i]) {
			b.WriteString(line[last:begin] + NotShown)
			last = i
		}
	}
	if last == 0 {
		return line
	}
	return b.String() + line[last:]
}

func isBase64(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '+' || c == '/' || c == '-' || c == '_'
}

// hides tells whether a text is base64, in either alphabet, of something with a secret, wherever in it that begins.
func (r *Redactor) hides(run string) bool {
	run = alphabet.Replace(run)
	for skipped := range 4 {
		part := run[skipped:]
		if len(part)%4 == 1 {
			part = part[:len(part)-1]
		}
		decoded, err := base64.RawStdEncoding.DecodeString(part)
		if err != nil {
			continue
		}
		s := string(decoded)
		if strings.Contains(s, keyMark) || r.known.Replace(s) != s || skipped == 0 && utf8.ValidString(s) && plain(s) != s {
			return true
		}
	}
	return false
}

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
		shown := make(map[string]any, len(v))
		for key, child := range v {
			shown[r.text(key)] = r.tree(child, secret || isCredential(key))
		}
		return shown
	case []any:
		for i := range v {
			v[i] = r.tree(v[i], secret)
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

var (
	credentialField  = regexp.MustCompile(`(?i)` + words + `s?$`)
	credentialHeader = regexp.MustCompile(`(?i)` + words)
)

// isCredential tells by its name whether a value may prove who somebody is: a name of a header by any part of it, another one by its end.
func isCredential(name string) bool {
	if name == "imagePullSecrets" || name == "automountServiceAccountToken" || name == "serviceAccountToken" {
		return false // of Kubernetes: they hold names
	}
	return credentialField.MatchString(name) || strings.Contains(name, "-") && credentialHeader.MatchString(name)
}
