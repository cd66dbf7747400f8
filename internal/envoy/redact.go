package envoy

import (
	"strings"

	"github.com/cncf/xds/go/udpa/annotations"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// NotShown stands in the place of what must not be shown. It is the word that Envoy uses in its own dumps.
const NotShown = "[redacted]"

// Read reads a message of a type.
func Read(typeURL string, body []byte) (proto.Message, error) {
	return (&anypb.Any{TypeUrl: typeURL, Value: body}).UnmarshalNew()
}

// Redacted returns the message without what must not be shown, at any depth: what Envoy's own definitions call sensitive,
// such as keys, and values of headers by which callers prove who they are. What was redacted before stays as it is, so
// messages of both sides can be compared.
func Redacted(m proto.Message) proto.Message {
	m = proto.Clone(m)
	redact(m.ProtoReflect())
	return m
}

// redact redacts a message in place.
func redact(m protoreflect.Message) {
	switch message := m.Interface().(type) {
	case *anypb.Any:
		redactAny(message)
		return
	case *corev3.HeaderValue:
		if isCredential(message.GetKey()) {
			hideHeader(message)
		}
		return
	case *routev3.HeaderMatcher:
		if isCredential(message.GetName()) && message.GetHeaderMatchSpecifier() != nil && !isPresence(message) {
			message.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: &matcherv3.StringMatcher{
				MatchPattern: &matcherv3.StringMatcher_Exact{Exact: NotShown},
			}}
		}
		return
	}
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		sensitive, _ := proto.GetExtension(field.Options(), annotations.E_Sensitive).(bool)
		within(m, field, value, sensitive)
		return true
	})
}

// within redacts what stands in a field.
func within(m protoreflect.Message, field protoreflect.FieldDescriptor, value protoreflect.Value, sensitive bool) {
	visit := redact
	if sensitive {
		visit = hide
	}
	switch {
	case field.IsMap():
		if field.MapValue().Message() == nil {
			if sensitive {
				m.Clear(field)
			}
			return
		}
		value.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
			visit(v.Message())
			return true
		})
	case field.Message() == nil:
		if sensitive {
			hideScalar(m, field)
		}
	case field.IsList():
		for i := range value.List().Len() {
			visit(value.List().Get(i).Message())
		}
	default:
		visit(value.Message())
	}
}

// hideHeader redacts the value of a header.
func hideHeader(h *corev3.HeaderValue) {
	if h.GetValue() != "" {
		h.Value = NotShown
	}
	if len(h.GetRawValue()) > 0 {
		h.RawValue = []byte(NotShown)
	}
}

// hide redacts everything in a message.
func hide(m protoreflect.Message) {
	m.Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		within(m, field, value, true)
		return true
	})
}

// hideScalar puts a word in the place of a text, and nothing in that of everything else.
func hideScalar(m protoreflect.Message, field protoreflect.FieldDescriptor) {
	switch {
	case field.IsList():
		m.Clear(field)
	case field.Kind() == protoreflect.StringKind:
		m.Set(field, protoreflect.ValueOfString(NotShown))
	case field.Kind() == protoreflect.BytesKind:
		m.Set(field, protoreflect.ValueOfBytes([]byte(NotShown)))
	default:
		m.Clear(field)
	}
}

// redactAny redacts a message inside another. One of a type that is not known here is not shown at all.
func redactAny(a *anypb.Any) {
	inner, err := a.UnmarshalNew()
	if err == nil {
		redact(inner.ProtoReflect())
		var body []byte
		if body, err = marshal(inner); err == nil {
			a.Value = body
		}
	}
	if err != nil {
		a.Value = nil
	}
}

// isPresence tells whether a matcher asks only whether there is such a header.
func isPresence(m *routev3.HeaderMatcher) bool {
	_, is := m.GetHeaderMatchSpecifier().(*routev3.HeaderMatcher_PresentMatch)
	return is
}

// isCredential tells by a header's name whether its value proves who calls. What rules look for in cookies is no such value
// more often than not, and stands in the rules.
func isCredential(name string) bool {
	name = strings.ToLower(name)
	if name == "set-cookie" {
		return true
	}
	for _, part := range []string{
		"authorization", "token", "secret", "password", "passwd", "passphrase", "credential", "api-key", "apikey", "access-key", "private-key",
	} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}
