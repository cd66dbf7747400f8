package edit

import (
	"encoding/json"
	"errors"
	"io"
	"strings"
)

// Text is one document of a file as it stands there, with the marker line before it. The texts of a file, one after the
// other, are the file.
type Text struct {
	Text string
	Line int  // of the text's first line in the file, from 1
	JSON bool // the file holds JSON values and no YAML markers
}

// Split takes a file apart into its documents: at the lines that begin with "---" or "...", or behind each value if the
// file is a stream of JSON.
func Split(file string) []Text {
	if strings.HasPrefix(strings.TrimLeft(strings.TrimPrefix(file, byteOrderMark), " \t\r\n"), "{") {
		if all, ok := splitJSON(file); ok {
			return all
		}
	}
	var all []Text
	starts := lineStarts(file)
	begin, first := 0, 1
	for i, at := range starts[:len(starts)-1] {
		if i > 0 && isMarker(file[at:starts[i+1]]) {
			all = append(all, Text{Text: file[begin:at], Line: first})
			begin, first = at, i+1
		}
	}
	return append(all, Text{Text: file[begin:], Line: first})
}

const byteOrderMark = "\ufeff"

// splitJSON takes a stream of JSON values apart; each has the white space before it, the last one also that behind it.
func splitJSON(file string) (all []Text, ok bool) {
	skip := len(file) - len(strings.TrimPrefix(file, byteOrderMark))
	in := json.NewDecoder(strings.NewReader(file[skip:]))
	begin, line := 0, 1
	for {
		var value json.RawMessage
		err := in.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, false
		}
		end := skip + int(in.InputOffset())
		all = append(all, Text{Text: file[begin:end], Line: line, JSON: true})
		line += strings.Count(file[begin:end], "\n")
		begin = end
	}
	if len(all) > 0 {
		all[len(all)-1].Text += file[begin:]
	}
	return all, true
}

// isMarker tells whether a line begins a document or ends one.
func isMarker(line string) bool {
	rest, ok := strings.CutPrefix(line, "---")
	if !ok {
		rest, ok = strings.CutPrefix(line, "...")
	}
	return ok && (rest == "" || strings.ContainsRune(" \t\r\n", rune(rest[0])))
}

// masked returns the text without byte order mark and marker, with everything else at its place.
func (t Text) masked() string {
	text := t.Text
	if rest, ok := strings.CutPrefix(text, byteOrderMark); ok {
		text = rest // whoever asks for places adds it again
	}
	if isMarker(firstLine(text)) {
		text = "   " + text[3:]
	}
	return text
}

// skipped returns how many bytes masked leaves out.
func (t Text) skipped() int { return len(t.Text) - len(t.masked()) }

func firstLine(text string) string { return text[:lineStarts(text)[1]] }

// lineStarts returns where each line of a text begins, and the length of the text: at least two numbers. Lines end as
// YAML 1.1 (4.2) has it: beside CR and LF there are NEL, LS and PS.
func lineStarts(text string) []int {
	starts := []int{0}
	for i := 0; i < len(text); {
		size := breakAt(text[i:])
		if size == 0 {
			i++
			continue
		}
		i += size
		starts = append(starts, i)
	}
	if last := starts[len(starts)-1]; last == len(text) && len(starts) > 1 {
		return starts
	}
	return append(starts, len(text))
}

// breakAt returns the size of the line break at the beginning of a text, or 0.
func breakAt(text string) int {
	switch {
	case text == "":
		return 0
	case strings.HasPrefix(text, "\r\n"):
		return 2
	case text[0] == '\n', text[0] == '\r':
		return 1
	case strings.HasPrefix(text, "\u0085"):
		return 2
	case strings.HasPrefix(text, "\u2028"), strings.HasPrefix(text, "\u2029"):
		return 3
	default:
		return 0
	}
}

// ending returns the line break at the end of a line, or "".
func ending(line string) string {
	for _, b := range []string{"\r\n", "\n", "\r", "\u0085", "\u2028", "\u2029"} {
		if strings.HasSuffix(line, b) {
			return b
		}
	}
	return ""
}
