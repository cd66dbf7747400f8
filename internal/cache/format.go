package cache

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// The format of a file: two values of JSON, each on a line of its own. A change that an older program would misread has
// another number.
const (
	formatName   = "lateen-cache"
	formatNumber = 1
)

// header is the first line of a file.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	SHA256  string `json:"sha256"` // of everything behind the first line
}

// body is the second line.
type body struct {
	Part    string          `json:"part"`
	Mesh    string          `json:"mesh,omitempty"`
	Saved   time.Time       `json:"saved"`
	Content json.RawMessage `json:"content"`
}

func encode(part, mesh string, saved time.Time, v any) ([]byte, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	rest, err := json.Marshal(body{Part: part, Mesh: mesh, Saved: saved.UTC().Truncate(time.Second), Content: content})
	if err != nil {
		return nil, err
	}
	rest = append(rest, '\n')
	return append(firstLine(rest), rest...), nil
}

// firstLine returns the only first line that fits the rest of a file.
func firstLine(rest []byte) []byte {
	sum := sha256.Sum256(rest)
	line, _ := json.Marshal(header{formatName, formatNumber, hex.EncodeToString(sum[:])}) // texts and a number: it cannot fail
	return append(line, '\n')
}

// decode reads a file of a part into v. Its error is a [*Refused] that knows no path yet.
func decode(data []byte, part, mesh string, v any) (time.Time, error) {
	end := bytes.IndexByte(data, '\n') + 1
	if first, rest := data[:end], data[end:]; !bytes.Equal(first, firstLine(rest)) {
		return time.Time{}, misfit(first)
	}
	var b body
	if err := strict(data[end:], &b); err != nil {
		return time.Time{}, refuse(Foreign, "%v", err)
	}
	if b.Part != part {
		return time.Time{}, refuse(Foreign, "it holds %q", b.Part)
	}
	if b.Mesh != mesh && b.Mesh != "" && mesh != "" {
		return time.Time{}, refuse(Foreign, "it belongs to the mesh %q", b.Mesh)
	}
	if err := strict(b.Content, v); err != nil {
		return time.Time{}, refuse(Foreign, "another version of Lateen wrote it: %v", err)
	}
	return b.Saved, nil
}

// misfit says why a first line does not fit.
func misfit(line []byte) *Refused {
	var h header
	switch err := json.Unmarshal(line, &h); {
	case err != nil || h.Format != formatName:
		return refuse(Foreign, "it does not begin as files of Lateen do")
	case h.Version != formatNumber:
		return refuse(Foreign, "its format has number %d, and this program reads %d", h.Version, formatNumber)
	default:
		return refuse(Damaged, "its checksum does not fit")
	}
}

// strict reads exactly one value that has no field which v does not.
func strict(data []byte, v any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(v); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("there is more behind it")
	}
	return nil
}
