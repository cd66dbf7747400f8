package dump

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/envoy"
	"github.com/lateen-mesh/lateen/internal/view"
)

// State says how a resource in the proxy stands to the one that it is to have.
type State string

// The states. Differs and those after it are differences.
const (
	Same      State = "same"
	Own       State = "own"           // the proxy has it by itself: from its start, from its agent, or looked up
	Differs   State = "differs"       // both have it, with different content
	OnlyProxy State = "only in proxy" // nobody sent it, as far as is known
	OnlySent  State = "only sent"
	NotSent   State = "not sent" // something must be in force before it
	Warming   State = "warming"  // the proxy has it, and waits for something before it uses it
	Refused   State = "refused"
)

// Row is one resource.
type Row struct {
	Kind    view.Kind `json:"kind"`
	Name    string    `json:"name"`
	State   State     `json:"state"`
	Why     string    `json:"why,omitempty"`     // it is not the same
	Version string    `json:"version,omitempty"` // that the proxy has, by its dump or else by what it confirmed

	Wanted string          `json:"wanted,omitempty"` // version that it is to have
	Sent   json.RawMessage `json:"sent,omitempty"`   // that version, as Envoy's message, without keys
	Proxy  json.RawMessage `json:"proxy,omitempty"`  // what the proxy has

	sent, has proto.Message
}

// Alike tells whether nothing is wrong with the resource.
func (r *Row) Alike() bool { return r.State == Same || r.State == Own }

// order of the kinds, as people read a configuration: from where requests come in to where they go.
var order = []view.Kind{
	view.KindListener, view.KindFilter, view.KindScope, view.KindRoutes, view.KindVirtualHost, view.KindCluster, view.KindEndpoints,
	view.KindSecret,
}

// Compare compares a dump with what was sent and returns the resources, sorted by kind and name.
func Compare(dump []byte, sent []api.Resource) ([]Row, error) {
	all, err := read(dump)
	if err != nil {
		return nil, err
	}
	has := map[view.ID][]found{}
	for _, f := range all {
		id := view.ID{Kind: f.kind, Name: f.name}
		has[id] = append(has[id], f)
	}
	asks := map[string]bool{} // clusters whose endpoints are sent
	for i := range all {
		if c, ok := all[i].message.(*clusterv3.Cluster); ok && c.GetType() == clusterv3.Cluster_EDS {
			asks[c.GetName()] = true
		}
	}
	rows := []Row{}
	for i := range sent {
		id := view.ID{Kind: view.Kind(sent[i].Kind), Name: sent[i].Name}
		rows = append(rows, rowOf(&sent[i], has[id]))
		delete(has, id)
	}
	for id, list := range has {
		r := Row{Kind: id.Kind, Name: id.Name, State: OnlyProxy, Why: list[0].failure}
		r.take(list[0])
		switch f := list[0]; {
		case f.phase == static, f.kind == view.KindEndpoints && !asks[f.name], f.kind == view.KindSecret && envoy.IsAgentSecret(f.name):
			r.State = Own
		case f.phase == draining:
			r.Why = "it is draining"
		case f.phase == failed && f.failure != "":
			r.State = Refused
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b Row) int {
		return cmp.Or(cmp.Compare(slices.Index(order, a.Kind), slices.Index(order, b.Kind)), cmp.Compare(a.Name, b.Name))
	})
	return rows, nil
}

// rowOf compares a resource that was sent with its versions in the dump.
func rowOf(s *api.Resource, list []found) Row {
	r := Row{Kind: view.Kind(s.Kind), Name: s.Name, State: Same, Wanted: s.Wanted, Version: s.Confirmed}
	broken := ""
	if len(s.Body) > 0 {
		if message, err := readBody(s.Body, s.Type); err != nil {
			broken = "what was sent: " + err.Error()
		} else {
			r.sent, r.Sent = message, text(message)
		}
	}
	var now, next *found // in use, and on its way to that
	for i := range list {
		switch list[i].phase {
		case warming:
			next = &list[i]
		case draining, failed:
		default:
			now = &list[i]
		}
	}
	if shown := cmp.Or(now, next); shown != nil {
		r.take(*shown)
	}
	switch {
	case s.Reason != "":
		r.State, r.Why = Refused, s.Reason
	case next != nil && (now == nil || next.version == s.Wanted):
		r.State = Warming
	case now == nil && s.Sent == "" && s.Wanted != "":
		r.State, r.Why = NotSent, "something must be in force before it, or the proxy answers nothing"
	case now == nil && s.Wanted == "":
		r.State, r.Why = NotSent, "there is no such thing"
	case now == nil:
		r.State = OnlySent
	case now.broken != "" || broken != "":
		r.State, r.Why = Differs, cmp.Or(now.broken, broken)
	default:
		r.compare(s, now)
	}
	if r.Why == "" && !r.Alike() {
		for _, f := range list {
			r.Why = cmp.Or(r.Why, f.failure)
		}
	}
	return r
}

// compare compares both messages, or their versions where a message is not there.
func (r *Row) compare(s *api.Resource, now *found) {
	sent, has := plain(r.sent), plain(now.message)
	aside := forgive(sent, has)
	switch {
	case r.sent != nil && proto.Equal(sent, has):
		if aside > 0 {
			r.Why = fmt.Sprintf("the proxy has set %d of them aside, since they failed", aside)
		}
		return
	case r.sent == nil && s.Wanted != "" && (now.version == "" || now.version == s.Wanted):
		return
	case s.Wanted == "":
		r.State, r.Why = OnlyProxy, "it is to go"
		return
	}
	r.State = Differs
	var why []string
	switch {
	case s.Sent != s.Wanted:
		why = append(why, "the newest version is not sent yet")
	case s.Confirmed != s.Wanted:
		why = append(why, "the proxy has not confirmed the newest version")
	}
	if r.sent != nil {
		if places := differences(sent, has); len(places) > 0 {
			why = append(why, "at "+strings.Join(places, ", "))
		}
	}
	r.Why = strings.Join(why, ", ")
}

// take makes what the proxy has that of the row.
func (r *Row) take(f found) {
	r.Version = cmp.Or(f.version, r.Version)
	if f.message != nil {
		r.has, r.Proxy = f.message, text(f.message)
	}
	if f.broken != "" {
		r.Why = f.broken
	}
}

// text returns a message as JSON: equal messages, equal text.
func text(m proto.Message) json.RawMessage {
	loose, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m) // its blanks differ from build to build
	if err != nil {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, loose); err != nil {
		return nil
	}
	return compact.Bytes()
}

// maxPlaces bounds the differences of one resource that are named.
const maxPlaces = 3

// differences names the first places in which two messages differ.
func differences(a, b proto.Message) []string {
	var x, y any
	if json.Unmarshal(text(a), &x) != nil || json.Unmarshal(text(b), &y) != nil {
		return nil
	}
	var places []string
	walk("", x, y, func(place string) bool {
		places = append(places, cmp.Or(place, "the whole"))
		return len(places) < maxPlaces
	})
	return places
}

// walk tells the places in which two values of JSON differ until it is told to stop.
func walk(place string, a, b any, tell func(place string) bool) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok {
			return tell(place)
		}
		for _, key := range keysOf(x, y) {
			if !walk(strings.TrimPrefix(place+"."+key, "."), x[key], y[key], tell) {
				return false
			}
		}
		return true
	case []any:
		y, ok := b.([]any)
		if !ok || len(x) != len(y) {
			return tell(place)
		}
		for i := range x {
			if !walk(fmt.Sprintf("%s[%d]", place, i), x[i], y[i], tell) {
				return false
			}
		}
		return true
	default:
		return a == b || tell(place)
	}
}

// keysOf lists the keys of both, sorted.
func keysOf(a, b map[string]any) []string {
	var keys []string
	for _, m := range []map[string]any{a, b} {
		for key := range m {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys)
}
