package bugreport

import (
	"encoding/base64"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// NotShown stands in the place of what is left out.
const NotShown = "[redacted]"

// Redactor takes secrets out of texts. It goes by what they look like: keys in PEM, tokens in the form of JWT, user and password in a
// URL, its query, and whatever stands behind a name such as "password" or "authorization", in the forms of YAML, JSON, logs, headers and
// flags, up to the end of the line or of the quoted text; also where all that is written in base64. In documents it goes by what things
// are: values of headers that rules look for or add. And it goes by the very secrets that it is told. It rather takes too much.
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

// Text returns a text without secrets.
func (r *Redactor) Text(text []byte) []byte { return []byte(r.text(string(text))) }

var (
	pemKey = regexp.MustCompile(`(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)`)
	// keyEnd is the end of a key whose beginning was cut off.
	keyEnd = regexp.MustCompile(`\A[A-Za-z0-9+/=\s\\]*-----END [A-Z0-9 ]*PRIVATE KEY-----`)
)

// keyMark stands at the beginning and the end of every key.
const keyMark = "PRIVATE KEY-----"

// text redacts line by line, since looking for everything everywhere takes long. What belongs to the line before goes with it.
func (r *Redactor) text(s string) string {
	if strings.Contains(s, keyMark) {
		s = keyEnd.ReplaceAllLiteralString(s, NotShown)
		s = pemKey.ReplaceAllLiteralString(s, NotShown)
	}
	s = r.withoutWrapped(r.known.Replace(s))
	var b strings.Builder
	b.Grow(len(s))
	var before block
	for line := range strings.Lines(s) {
		if hidden, is := before.hides(line); is {
			b.WriteString(hidden)
			continue
		}
		b.WriteString(r.withoutEncoded(before.plain(line)))
	}
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

// withoutWrapped takes out base64 of something with a secret that goes over several lines: what is the last word of each.
func (r *Redactor) withoutWrapped(s string) string {
	var out strings.Builder
	out.Grow(len(s))
	var lines []string // that go on with each other
	end := func() {
		var run strings.Builder
		for _, line := range lines {
			run.WriteString(strings.TrimRight(lastWord(line), "="))
		}
		hidden := len(lines) > 1 && r.hides(run.String())
		for _, line := range lines {
			if hidden {
				word := lastWord(line)
				at := strings.LastIndex(line, word)
				line = line[:at] + NotShown + line[at+len(word):]
			}
			out.WriteString(line)
		}
		lines = lines[:0]
	}
	for line := range strings.Lines(s) {
		word := lastWord(line)
		encoded := word != "" && strings.TrimLeft(word, base64Letters) == ""
		if !encoded || len(word) < minEncoded && len(lines) == 0 {
			end()
			out.WriteString(line)
			continue
		}
		lines = append(lines, line)
		if len(word) < minEncoded || strings.HasSuffix(word, "=") { // the last one
			end()
		}
	}
	end()
	return out.String()
}

const base64Letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/-_="

func lastWord(line string) string {
	line = strings.TrimRight(line, " \t\r\n\"',\\")
	return line[strings.LastIndexAny(line, " \t\"'\\:")+1:]
}
