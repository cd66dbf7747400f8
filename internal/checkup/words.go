package checkup

import (
	"fmt"
	"strings"
	"time"
)

// Span says how long something is, in its largest unit that says enough: "9 years", "23 hours", "90 minutes", "1 hour".
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d.Round(time.Second), 0) // ten minutes are so a moment later, too
	for _, unit := range []struct {
		length time.Duration
		word   string
	}{{365 * day, "year"}, {30 * day, "month"}, {day, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / unit.length); n > 1 || n == 1 && d%unit.length == 0 {
			return number(n, unit.word)
		}
	}
	return number(int(d/time.Second), "second")
}

// number returns "1 proxy" or "2 proxies".
func number(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if stem, ok := strings.CutSuffix(noun, "y"); ok && !strings.HasSuffix(stem, "a") {
		noun = stem + "ie"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// maxWords bounds words that others have chosen, in bytes.
const maxWords = 300

// oneLine returns words that others have chosen as one line of bounded length.
func oneLine(words string) string {
	words = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, words)), " ")
	if len(words) > maxWords {
		return strings.ToValidUTF8(words[:maxWords], "") + "…"
	}
	return words
}

// listed lists words, at most so many.
func listed(words []string, most int) string {
	if more := len(words) - most; more > 0 {
		return strings.Join(words[:most], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(words, ", ")
}
