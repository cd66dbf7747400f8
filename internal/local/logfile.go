package local

import (
	"fmt"
	"os"
	"sync"
)

const maxLogFile = 4 << 20

// logFile is a file of log lines that is begun anew when it is full; one older file is kept as PATH.1.
type logFile struct {
	path string

	mu   sync.Mutex
	file *os.File
	size int64
}

func openLog(path string) (*logFile, error) {
	l := &logFile{path: path}
	if err := l.begin(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *logFile) begin() error {
	file, err := os.OpenFile(l.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("begin log: %w", err)
	}
	l.file, l.size = file, 0
	return nil
}

// line adds a line. One that cannot be written is lost: there is nobody to tell.
func (l *logFile) line(text string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > maxLogFile && os.Rename(l.path, l.path+".1") == nil {
		old := l.file
		if l.begin() == nil {
			_ = old.Close()
		}
	}
	n, _ := l.file.WriteString(text + "\n")
	l.size += int64(n)
}

func (l *logFile) close() { l.file.Close() }
