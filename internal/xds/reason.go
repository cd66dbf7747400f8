package xds

import (
	"iter"
	"strings"
)

// maxReason bounds what is kept of a proxy's words about a refusal. Envoy quotes whole resources in them.
const maxReason = 4 << 10

// cutReason returns the beginning of a proxy's words.
func cutReason(reason string) string {
	if len(reason) <= maxReason {
		return reason
	}
	return strings.ToValidUTF8(reason[:maxReason], "") // the cut may go through a character
}

// Named tells whether a proxy's words say that it refuses the resource of this name. Proxies write several refusals one
// after the other, each as the whole name and a colon, or with the name in quotes: Envoy "cluster(s) NAME: why, NAME: why",
// gRPC `resource "NAME": why`. What merely contains the name, or a word in the text that is the same, does not count.
func Named(reason, name string) bool {
	if !strings.Contains(reason, name) {
		return false
	}
	for word := range named(reason) {
		if word == name {
			return true
		}
	}
	return false
}

// named returns what may be the name of a refused resource in a proxy's words.
func named(reason string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for begin := 0; begin < len(reason); {
			end := begin
			for end < len(reason) && !parts(reason[end]) {
				end++
			}
			word := reason[begin:end]
			quoted := begin > 0 && end < len(reason) && quotes(reason[begin-1]) && quotes(reason[end])
			if quoted && !yield(word) {
				return
			}
			if name, ok := strings.CutSuffix(word, ":"); ok {
				inner := strings.TrimLeft(name, "[")
				if !yield(name) || (inner != name && !yield(inner)) {
					return
				}
			}
			begin = end + 1
		}
	}
}

// parts tells whether a character stands between words and in no name.
func parts(c byte) bool { return c <= ' ' || quotes(c) || strings.IndexByte("(){}<>;", c) >= 0 }

// quotes tells whether a character opens or closes a quotation. In one within another, a backslash stands beside it.
func quotes(c byte) bool { return c == '"' || c == '\'' || c == '`' || c == '\\' }
