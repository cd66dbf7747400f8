package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span in a spec, written as in Go: "10s", "1m30s", "250ms".
type Duration time.Duration

// UnmarshalText reads a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	span, err := time.ParseDuration(string(text))
	if err != nil {
		return &badDuration{string(text)}
	}
	*d = Duration(span)
	return nil
}

// Example returns a duration as it is written.
func (Duration) Example() string { return "10s" }

// String returns the duration as it is written.
func (d Duration) String() string { return time.Duration(d).String() }

// badDuration says why a text is not a duration and what may have been meant.
type badDuration struct{ text string }

func (e *badDuration) Error() string {
	return quoted(e.text) + " is not a duration: a number with a unit is, such as 10s, 1m30s or 250ms"
}

// Hint names the duration that was probably meant.
func (e *badDuration) Hint() string {
	number, days := strings.CutSuffix(e.text, "d")
	n, err := strconv.ParseFloat(number, 64)
	switch {
	case err != nil || math.IsNaN(n) || n < 0 || n > 1e6:
		return ""
	case days:
		return `there are no days: write "` + strconv.FormatFloat(n*24, 'f', -1, 64) + `h"`
	default:
		return `did you mean "` + number + `s"?`
	}
}
