package mesh

import (
	"fmt"
	"time"
)

// Duration is a time.Duration that is written as people write it, "1.5s".
type Duration time.Duration

// MarshalText returns the duration as in "1.5s".
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("read duration: %w", err)
	}
	*d = Duration(parsed)
	return nil
}
