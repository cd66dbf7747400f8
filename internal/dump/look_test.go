package dump_test

import (
	"context"
	"errors"
	"testing"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/dump"
)

// dumps is a proxy that counts how often it is asked.
type dumps struct{ asked int }

func (d *dumps) Dump(context.Context) ([]byte, error) {
	d.asked++
	return []byte(`{"configs":[]}`), nil
}

// What a proxy is told to forget between the two looks is not told as missing: both are read again.
func TestLookAgain(t *testing.T) {
	t.Parallel()
	answers := []api.Resources{
		{Resources: []api.Resource{{Kind: "cluster", Name: "a", Wanted: "1", Sent: "1", Confirmed: "1"}}},
		{Proxy: "p"},
		{Proxy: "p"},
	}
	proxy := &dumps{}
	rows, sent, err := dump.Look(t.Context(), proxy, func(context.Context) (api.Resources, error) {
		next := answers[0]
		answers = answers[1:]
		return next, nil
	})
	if err != nil || len(rows) != 0 || sent.Proxy != "p" || proxy.asked != 2 {
		t.Errorf("%v, %v, %v, asked %d times", rows, sent, err, proxy.asked)
	}
}

// A mesh that never rests is told as it was seen last.
func TestLookEnds(t *testing.T) {
	t.Parallel()
	versions, proxy := 0, &dumps{}
	rows, _, err := dump.Look(t.Context(), proxy, func(context.Context) (api.Resources, error) {
		versions++
		return api.Resources{Resources: []api.Resource{{Kind: "cluster", Name: string(rune('a' + versions)), Wanted: "1", Sent: "1"}}}, nil
	})
	if err != nil || len(rows) != 1 || rows[0].State != dump.OnlySent || proxy.asked != 3 {
		t.Errorf("%v, %v, asked %d times", rows, err, proxy.asked)
	}
	gone := errors.New("gone")
	if _, _, err := dump.Look(t.Context(), proxy, func(context.Context) (api.Resources, error) { return api.Resources{}, gone }); !errors.Is(err, gone) {
		t.Errorf("%v, want %v", err, gone)
	}
}
