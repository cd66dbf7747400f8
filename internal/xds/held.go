package xds

import (
	"errors"
	"iter"
	"unicode/utf8"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Held are the resources that a proxy has from an earlier stream, with their versions. They stay in the bytes in which they came, until
// somebody wants a map: when the control plane starts anew, each proxy of a large mesh says of a thousand scopes that it has them.
type Held struct{ fields []byte }

// heldField is the number of the map with them in a request; an entry has a name and a version.
const (
	heldField    protowire.Number = 5
	nameField    protowire.Number = 1
	versionField protowire.Number = 2
)

var errHeld = errors.New("a resource that the proxy has, with a name or a version that is no text")

// heldOf returns those of a request, as the codec has read it or as somebody has built it.
func heldOf(req *discoveryv3.DeltaDiscoveryRequest) Held {
	fields := req.ProtoReflect().GetUnknown()
	for name, version := range req.GetInitialResourceVersions() {
		entry := protowire.AppendString(protowire.AppendTag(nil, nameField, protowire.BytesType), name)
		entry = protowire.AppendString(protowire.AppendTag(entry, versionField, protowire.BytesType), version)
		fields = protowire.AppendBytes(protowire.AppendTag(fields, heldField, protowire.BytesType), entry)
	}
	return Held{fields}
}

// All yields names and versions, which are good until the next ones. A hostile proxy may name one twice.
func (h Held) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(name, version []byte) bool) {
		for rest := h.fields; len(rest) > 0; {
			name, version, n := consumeHeld(rest)
			if n < 0 || !yield(name, version) {
				return
			}
			rest = rest[n:]
		}
	}
}

// None tells that there are none.
func (h Held) None() bool { return len(h.fields) == 0 }

// Versions returns them by name.
func (h Held) Versions() map[string]string {
	if h.None() {
		return nil
	}
	all := map[string]string{}
	for name, version := range h.All() {
		all[string(name)] = string(version)
	}
	return all
}

// unmarshalDelta reads a request. Of what the proxy has it makes no map: that stays in it as fields that are not known.
func unmarshalDelta(data []byte, req *discoveryv3.DeltaDiscoveryRequest) error {
	var held, others []byte
	for rest := data; len(rest) > 0; {
		number, kind, n := protowire.ConsumeField(rest)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if number == heldField && kind == protowire.BytesType {
			if _, _, n := consumeHeld(rest); n < 0 {
				return errHeld
			}
			if held == nil {
				held, others = make([]byte, 0, len(rest)), append(others, data[:len(data)-len(rest)]...)
			}
			held = append(held, rest[:n]...)
		} else if held != nil {
			others = append(others, rest[:n]...)
		}
		rest = rest[n:]
	}
	if held == nil {
		others = data
	}
	err := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(others, req)
	req.ProtoReflect().SetUnknown(held)
	return err
}

// consumeHeld reads the field of one resource and returns how long it is, or less than 0.
func consumeHeld(field []byte) (name, version []byte, n int) {
	_, _, tag := protowire.ConsumeTag(field)
	if tag < 0 {
		return nil, nil, tag
	}
	entry, n := protowire.ConsumeBytes(field[tag:])
	if n < 0 {
		return nil, nil, n
	}
	for rest := entry; len(rest) > 0; {
		number, kind, m := protowire.ConsumeField(rest)
		if m < 0 {
			return nil, nil, m
		}
		if kind == protowire.BytesType && (number == nameField || number == versionField) {
			_, _, start := protowire.ConsumeTag(rest)
			text, _ := protowire.ConsumeBytes(rest[start:])
			if !utf8.Valid(text) {
				return nil, nil, -1
			}
			if number == nameField {
				name = text
			} else {
				version = text
			}
		}
		rest = rest[m:]
	}
	return name, version, tag + n
}
