package netns

import (
	"os"
	"path/filepath"
	"strings"
)

// readLog is what the test in the namespace read of its surroundings, as package testing logs it for the go command. The
// go command may reuse a test's result only while all that is unchanged, but it asks the test outside, which has read
// nothing.
type readLog struct{ path string }

// replay reads the same things again, so that they are in the log of the test outside, too. It looks at no result: a thing
// that was absent counts as well.
func (l readLog) replay() {
	text, err := os.ReadFile(l.path)
	if err != nil {
		return
	}
	dir := ""
	for line := range strings.Lines(string(text)) {
		verb, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		path := name
		if !filepath.IsAbs(path) {
			path = filepath.Join(dir, path)
		}
		switch verb {
		case "getenv":
			os.Getenv(name)
		case "chdir":
			dir = name
		case "stat":
			_, _ = os.Stat(path)
		case "open":
			reopen(path)
		}
	}
}

// reopen opens what can be opened without waiting for somebody and without an effect.
func reopen(path string) {
	info, err := os.Stat(path)
	if err != nil || !info.IsDir() && !info.Mode().IsRegular() {
		return
	}
	if file, err := os.Open(path); err == nil {
		_ = file.Close()
	}
}
