package bugreport

import (
	"html"
	"regexp"
	"slices"
	"strings"
)

// words are those in names of what proves who somebody is.
const words = `(?:passw(?:or)?d|passphrase|passcode|\bpwd|secret|token|api[-_]?key|authorization|credential|private[-_]?key|access[-_]?key|[a-z0-9]-key\b|\bx-auth\b|x-auth-|cookie|session|signature)`

// quote is one around a name, in any of the forms that JSON and HTML give it.
const quote = `(?:\\*["']|\\u0022|\\u0027|&#3[49];|&quot;)`

// What a secret looks like. What stands in the first group stays.
var (
	jwt    = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]*`)
	scheme = regexp.MustCompile(`(?i)(\b(?:bearer|basic|digest|negotiate)\s+)[A-Za-z0-9._~+/=-]{6,}`)
	// query is that of a URL, and what follows an & of one that was cut. It goes to the end of the word.
	query = regexp.MustCompile(`(\?|&[A-Za-z0-9_.~%\[\]-]+=)(?:\\.|[^\s"\\])+`)
	// named is the name of a secret up to its value: `password: `, `"token":"`, `'cookie', '`, `Authorization:[`.
	named = regexp.MustCompile(`(?i)` + words + `[a-z0-9_-]*(?:` + quote + `?[ \t]*[:=]+>?[ \t]*|` + quote + `[ \t]*,[ \t]*)`)
	// flagged is a flag whose value is another word, also in a list.
	flagged = regexp.MustCompile(`(?i)(--[a-z0-9-]*` + words + `[a-z0-9-]*(?:\s+|` + quote + `\s*,?\s*))\S.*`)
	// pair is the name of a secret where it is itself a value: what follows in the line, and in the next one, is the secret.
	pair = regexp.MustCompile(`(?i)(\b(?:name|key|header)` + quote + `?[ \t]*[:=][ \t]*` + quote + `?[a-z0-9_.-]*` + words + `[a-z0-9_.-]*` + quote + `?)(.*)`)
)

// hints are the words in lower case of which one is in each name of a secret.
var hints = []string{"pass", "pwd", "secret", "token", "key", "auth", "credential", "cookie", "session", "signature"}

// block is what a line says of those after it.
type block struct {
	on     bool // it has a secret, and lines that are further in belong to it
	next   bool // so does the next one, whatever it is
	indent int
}

// stamp is the time with which the kubelet begins the lines of logs.
var stamp = regexp.MustCompile(`^\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d) `)

// parts cuts a line into what is before its text, its text and its end, and tells how far in the text is.
func parts(line string) (before, text, end string, indent int) {
	text = strings.TrimRight(line, "\r\n")
	end = line[len(text):]
	stamped := len(stamp.FindString(text))
	indent = len(text[stamped:]) - len(strings.TrimLeft(text[stamped:], " \t"))
	return text[:stamped+indent], text[stamped+indent:], end, indent
}

// hides tells whether a line belongs to a secret before it, and what is left of it.
func (b *block) hides(line string) (left string, is bool) {
	if !b.on && !b.next {
		return "", false
	}
	before, text, end, indent := parts(line)
	switch {
	case b.next && text != "":
		b.next, b.on, b.indent = false, true, indent
		if name := valueOf.FindString(text); name != "" {
			before += name
		}
		return before + NotShown + end, true
	case b.on && (text == "" || indent > b.indent):
		return before + NotShown + end, true
	}
	b.on = false
	return "", false
}

// valueOf is the name before a value: `"value": `.
var valueOf = regexp.MustCompile(`^[\\"']*[A-Za-z_]+[\\"']*[:=] ?`)

// plain takes out what is written plainly in a line, and notes what it says of the next ones.
func (b *block) plain(line string) string {
	shown, secret, next := plainly(line)
	if secret {
		b.on = true
		_, _, _, b.indent = parts(line)
	}
	b.next = next
	return shown
}

// plain takes out what is written plainly in a text of one line.
func plain(line string) string {
	shown, _, _ := plainly(line)
	return shown
}

func plainly(line string) (shown string, secret, next bool) {
	line, end := strings.TrimRight(line, "\r\n"), line[len(strings.TrimRight(line, "\r\n")):]
	if strings.Contains(line, "&") && strings.Contains(line, ";") {
		line = html.UnescapeString(line)
	}
	if strings.Contains(line, "eyJ") {
		line = jwt.ReplaceAllLiteralString(line, NotShown)
	}
	lower := strings.ToLower(line)
	has := func(word string) bool { return strings.Contains(lower, word) }
	if slices.ContainsFunc(hints, has) {
		if at := pair.FindStringSubmatchIndex(line); at != nil {
			rest := strings.Trim(line[at[4]:], " \t,;\"'}])")
			next = rest == ""
			if !next {
				line = line[:at[3]] + NotShown
			}
		}
		if has("--") {
			line = flagged.ReplaceAllString(line, "${1}"+NotShown)
		}
		line, secret = withoutNamed(line)
	}
	if slices.ContainsFunc([]string{"bearer", "basic", "digest", "negotiate"}, has) {
		line = scheme.ReplaceAllString(line, "${1}"+NotShown)
	}
	if strings.ContainsAny(line, "?&") {
		line = query.ReplaceAllString(line, "${1}"+NotShown)
	}
	if strings.Contains(line, "@") {
		line = withoutUserinfo(line)
	}
	return line + end, secret, next
}

// withoutNamed takes out what stands behind names of secrets: the quoted text, or everything up to the end of the line.
func withoutNamed(line string) (shown string, secret bool) {
	var b strings.Builder
	for {
		at := named.FindStringIndex(line)
		if at == nil {
			return b.String() + line, secret
		}
		secret = true
		b.WriteString(line[:at[1]])
		value := line[at[1]:]
		end := quoted(value)
		if end < 0 {
			if strings.Trim(value, " \t{[(|>+-") != "" {
				value = NotShown
			}
			return b.String() + value, true
		}
		if end > 2 {
			b.WriteString(`"` + NotShown + `"`)
		} else {
			b.WriteString(`""`)
		}
		line = value[end:]
	}
}

// quoted returns the length of the text in double quotes with which a text begins, or -1, also where it goes on behind them.
func quoted(s string) int {
	if !strings.HasPrefix(s, `"`) {
		return -1
	}
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			if i++; i < len(s) && !strings.ContainsRune(" \t,;:)]}'<|", rune(s[i])) {
				return -1
			}
			return i
		}
	}
	return -1
}

// withoutUserinfo takes out what stands before the host of a URL (RFC 3986, section 3.2.1), also where its scheme is missing: everything from
// the scheme, or from the first colon, up to the last @ of a word. A digest of an image stands behind an @ too.
func withoutUserinfo(s string) string {
	var b strings.Builder
	for s != "" {
		word := s
		if n := strings.IndexAny(s, " \t\r\n\"'<>"); n >= 0 {
			word = s[:n]
		}
		s = s[len(word):]
		if at := lastAt(word); at >= 0 {
			begin := strings.Index(word[:at], "://") + len("://")
			if begin < len("://") {
				begin = strings.IndexByte(word[:at], ':') + 1
			}
			if begin > 0 {
				word = word[:begin] + NotShown + word[at:]
			}
		}
		b.WriteString(word)
		if s != "" { // what ends the word
			b.WriteByte(s[0])
			s = s[1:]
		}
	}
	return b.String()
}

// lastAt returns where the last @ is that no digest follows, or -1.
func lastAt(word string) int {
	for {
		at := strings.LastIndexByte(word, '@')
		if at < 0 || !strings.HasPrefix(word[at+1:], "sha256:") {
			return at
		}
		word = word[:at]
	}
}
