package meshtest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/agent"
	"github.com/lateen-mesh/lateen/internal/bootstrap"
	"github.com/lateen-mesh/lateen/internal/ca/capb"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/meshtest"
)

// recorder writes down what proxies and their control plane say.
type recorder struct {
	t        *testing.T
	mu       sync.Mutex
	messages map[string][]pastMessage // by node id
	begun    map[string]past          // how its Envoy was started, by the ID of the proxy
}

// record writes the recording of this version.
func record(t *testing.T) {
	if err := os.RemoveAll(pastFolder); err != nil {
		t.Fatal(err)
	}
	for _, s := range scenes {
		t.Run(s.name, func(t *testing.T) {
			r := &recorder{t: t, messages: map[string][]pastMessage{}, begun: map[string]past{}}
			m := s.play(t, meshtest.Config{Agent: r.agent, XDS: []grpc.ServerOption{grpc.StreamInterceptor(r.stream)}}, true)
			r.write(m, s)
			if s.name == scenes[0].name {
				writeRecorded(t, "api.json", shapes(t, m), strings.NewReplacer())
			}
		})
	}
	enrolment := pastEnrolment{
		Method: capb.CertificateAuthority_Sign_FullMethodName, Fields: numbers(&capb.SignRequest{}), Answers: numbers(&capb.SignResponse{}),
		TLSName: bootstrap.ServerName,
	}
	enrolment.Secrets.Identity, enrolment.Secrets.Trust = envoy.IdentitySecret, envoy.TrustSecret
	writeRecorded(t, "enrolment.json", enrolment, strings.NewReplacer())
	writeRecorded(t, "contract.json", contract(), strings.NewReplacer())
}

// agent is this version's. How it has started its Envoy is read.
func (r *recorder) agent(c agent.Config) func(context.Context) error {
	c.Events = io.MultiWriter(c.Events, writer(func(line []byte) {
		var e agent.Event
		if err := json.Unmarshal(line, &e); err != nil || e.Event != agent.Ready {
			return
		}
		words := func(file string) []string {
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", e.PID, file))
			if err != nil {
				r.t.Error(err)
			}
			return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
		}
		ours := os.Environ()
		r.mu.Lock()
		defer r.mu.Unlock()
		r.begun[c.Node] = past{
			Arguments:   words("cmdline")[1:],
			Environment: slices.DeleteFunc(words("environ"), func(word string) bool { return slices.Contains(ours, word) }),
		}
	}))
	return agent.New(c).Run
}

type writer func(line []byte)

func (w writer) Write(line []byte) (int, error) { w(line); return len(line), nil }

// stream records a stream.
func (r *recorder) stream(server any, s grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return handler(server, &recorded{ServerStream: s, recorder: r})
}

// recorded is a stream that is recorded.
type recorded struct {
	grpc.ServerStream
	recorder *recorder
	node     string
}

// RecvMsg records a request.
func (s *recorded) RecvMsg(message any) error {
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	req := proto.CloneOf(message.(*discoveryv3.DeltaDiscoveryRequest))
	if n := req.GetNode(); n != nil {
		s.node = n.GetId()
		n.Extensions, n.ClientFeatures = nil, nil
	}
	text, err := protojson.Marshal(req)
	s.add(pastMessage{Request: text})
	return err
}

// SendMsg records a response, by its names.
func (s *recorded) SendMsg(message any) error {
	var res discoveryv3.DeltaDiscoveryResponse
	text, err := proto.Marshal(message.(*discoveryv3.DeltaDiscoveryResponse)) // what several streams share is not in the fields
	if err == nil {
		err = proto.Unmarshal(text, &res)
	}
	if err != nil {
		return err
	}
	p := &pastResponse{Type: res.GetTypeUrl(), Removed: res.GetRemovedResources()}
	for _, r := range res.GetResources() {
		p.Names = append(p.Names, r.GetName())
	}
	s.add(pastMessage{Response: p})
	return s.ServerStream.SendMsg(message)
}

func (s *recorded) add(m pastMessage) {
	s.recorder.mu.Lock()
	defer s.recorder.mu.Unlock()
	s.recorder.messages[s.node] = append(s.recorder.messages[s.node], m)
}

// numbers returns those of the fields of a message.
func numbers(m proto.Message) map[string]int {
	all := map[string]int{}
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		all[string(fields.Get(i).Name())] = int(fields.Get(i).Number())
	}
	return all
}

// write writes what was recorded in a mesh.
func (r *recorder) write(m *meshtest.Mesh, s scene) {
	r.t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	hide, _ := places(m)
	for node, messages := range maps.All(r.messages) {
		id := strings.Split(node, "~")[2]
		name, _, _ := strings.Cut(id, ".")
		text, err := os.ReadFile(filepath.Join(m.Dir, name, "bootstrap.json"))
		if err != nil {
			r.t.Fatal(err)
		}
		p := r.begun[id]
		p.Bootstrap, p.Messages = text, messages
		writeRecorded(r.t, filepath.Join(s.name, name+".json"), p, hide)
	}
}

// writeRecorded writes a file of the recording.
func writeRecorded(t *testing.T, name string, value any, hide *strings.Replacer) {
	t.Helper()
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", " ")
	e.SetEscapeHTML(false)
	err := e.Encode(value)
	path := filepath.Join(pastFolder, name)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o755)
	}
	if err == nil {
		err = os.WriteFile(path, []byte(hide.Replace(text.String())), 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
