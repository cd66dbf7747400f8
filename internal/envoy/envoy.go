// Package envoy spells a [plan.Plan] as Envoy's messages.
//
// It decides nothing: every choice stands in the plan. With package bootstrap it is the only place that builds Envoy
// configuration. Equal plans give equal bytes: messages are marshalled deterministically, also those inside others.
// Every message is validated against Envoy's own constraints before it leaves, since one field out of range would make
// Envoy refuse the whole response that carries it.
package envoy

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// typePrefix starts every type URL.
const typePrefix = "type.googleapis.com/"

// Names of extensions that Envoy asks for and reads nothing from: the type of the message says what they are. They stand in every cluster
// and listener of every proxy, so they are short. Names of filters are Envoy's own: routes say by them for which filter a setting is.
const (
	plainSocket      = "plain"
	proxyProtocol    = "proxy-protocol"
	fileLogger       = "file"
	celFormatter     = "cel"
	previousHosts    = "previous-hosts"
	earlyHeaderWrite = "early"
)

// Message is a plan as Envoy takes it.
type Message struct {
	TypeURL string
	Name    string
	Proto   proto.Message
}

// Of returns the message for a plan.
func Of(p plan.Plan) (Message, error) {
	name, msg, err := build(p)
	if err != nil {
		return Message{}, fmt.Errorf("spell %T %s for Envoy: %w", p, name, err)
	}
	if v, ok := msg.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return Message{}, fmt.Errorf("validate %s: %w", name, err)
		}
	}
	return Message{TypeURL: typePrefix + string(proto.MessageName(msg)), Name: name, Proto: msg}, nil
}

func build(p plan.Plan) (string, proto.Message, error) {
	switch p := p.(type) {
	case plan.Cluster:
		msg, err := subsetCluster(p)
		return cmp.Or(p.Name, p.Subset.String()), msg, err
	case plan.Endpoints:
		msg, err := endpoints(p)
		return p.Subset.String(), msg, err
	case plan.InboundCluster:
		msg, err := inboundCluster(p)
		return p.Name, msg, err
	case plan.VirtualHost:
		msg, err := virtualHost(p)
		return p.Name, msg, err
	case plan.LocalRoutes:
		msg, err := localRoutes(p)
		return p.Name, msg, err
	case plan.LocalBytes:
		msg, err := localBytes(p)
		return p.Name, msg, err
	case plan.Target, plan.CallRoutes:
		return buildCall(p)
	case plan.InnerCluster:
		return p.Name, inner(p), nil
	case plan.InnerListener:
		msg, err := innerListener(p)
		return p.Name, msg, err
	case plan.LocalListener:
		msg, err := localListener(p)
		return p.Name, msg, err
	case plan.OnDemandRoutes:
		return p.Name, onDemandRoutes(p), nil
	case plan.Door:
		msg, err := doorRoutes(p)
		return p.Name, msg, err
	case plan.OutboundListener:
		msg, err := outboundListener(p)
		return p.Name, msg, err
	case plan.InboundListener:
		msg, err := inboundListener(p)
		return p.Name, msg, err
	case plan.DoorListener:
		msg, err := doorListener(p)
		return p.Name, msg, err
	case plan.Secret:
		return p.Name, secret(p), nil
	default:
		return buildCaptured(p)
	}
}

// buildCall builds what only clients without a proxy are told.
func buildCall(p plan.Plan) (string, proto.Message, error) {
	if t, ok := p.(plan.Target); ok {
		msg, err := apiListener(t)
		return t.Name, msg, err
	}
	routes, _ := p.(plan.CallRoutes)
	msg, err := callRoutes(routes)
	return routes.Name, msg, err
}

// Bytes returns the message marshalled: equal messages, equal bytes.
func (m Message) Bytes() ([]byte, error) { return marshal(m.Proto) }

// Text returns the message as indented JSON, for people: equal messages, equal text. Keys are not in it.
func (m Message) Text() (string, error) {
	loose, err := protojson.Marshal(Redacted(m.Proto)) // its blanks differ from build to build, on purpose
	if err != nil {
		return "", fmt.Errorf("write %s as JSON: %w", m.Name, err)
	}
	var text bytes.Buffer
	if err := json.Indent(&text, loose, "", "  "); err != nil {
		return "", fmt.Errorf("indent %s: %w", m.Name, err)
	}
	return text.String() + "\n", nil
}

func marshal(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}

// pack puts a message inside another.
func pack(m proto.Message) (*anypb.Any, error) {
	value, err := marshal(m)
	if err != nil {
		return nil, err
	}
	return packed(m, value), nil
}

// packed is a message of the kind of m whose bytes are known.
func packed(m proto.Message, value []byte) *anypb.Any {
	return &anypb.Any{TypeUrl: typePrefix + string(proto.MessageName(m)), Value: value}
}

func duration(d mesh.Duration) *durationpb.Duration { return durationpb.New(time.Duration(d)) }
