package config

import "strings"

// IsLabel tells whether s is a DNS-1123 label: at most 63 lower-case letters, digits and "-", neither first nor last a "-".
func IsLabel(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-'
	}) < 0
}

// AccountHint says what the name of a service account is, for who has written another one. It is what [IsDomain] takes.
const AccountHint = "it has lower-case letters, digits, - and . as a name of DNS, at most 253"

// IsDomain tells whether s is a DNS-1123 subdomain: labels joined with ".", at most 253 characters.
func IsDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if !IsLabel(label) {
			return false
		}
	}
	return true
}
