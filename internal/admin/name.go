package admin

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/push"
)

// mostNamed bounds how many proxies an error names.
const mostNamed = 5

// notFound is the refusal of a question about something that is not there. Where the name of a proxy is wrong, it names
// those that are probably meant.
func notFound(err error) *refusal {
	refused := refuse(http.StatusNotFound, "%v", err)
	wrong, ok := errors.AsType[*push.NotOne](err)
	switch {
	case !ok:
	case len(wrong.Means) > 0:
		refused.answer.Message += ": " + listed(wrong.Means)
		refused.answer.Hint = "name one of them"
		first := namespaceOf(wrong.Means[0])
		if slices.ContainsFunc(wrong.Means, func(id mesh.ProxyID) bool { return namespaceOf(id) != first }) {
			refused.answer.Hint += ", or add -n NAMESPACE"
		}
	case len(wrong.Known) > 0:
		if near := meant(wrong.Name, wrong.Known); len(near) > 0 {
			refused.answer.Hint = "did you mean " + listed(near) + "?"
		} else {
			refused.answer.Hint = "`lateen proxies -A` lists those that there are: " + listed(wrong.Known)
		}
	}
	return refused
}

func namespaceOf(id mesh.ProxyID) string {
	_, namespace, _ := strings.Cut(string(id), ".")
	return namespace
}

// meant returns the proxies that a wrong name may mean, the likeliest first: misspelled ones, then those whose names begin
// with it.
func meant(name string, known []mesh.ProxyID) []mesh.ProxyID {
	if _, rest, ok := strings.Cut(name, "/"); ok {
		name = rest
	}
	spelled := map[string][]mesh.ProxyID{} // by the ways to spell them
	for _, id := range known {
		short, _, _ := strings.Cut(string(id), ".")
		group := short[:max(strings.LastIndexByte(short, '-'), 0)]
		for _, way := range []string{string(id), short, group} {
			spelled[way] = append(spelled[way], id)
		}
	}
	delete(spelled, "") // the group of a name without -
	ways := slices.Sorted(maps.Keys(spelled))
	var near []mesh.ProxyID
	add := func(ids ...mesh.ProxyID) {
		for _, id := range ids {
			if !slices.Contains(near, id) {
				near = append(near, id)
			}
		}
	}
	for len(near) < mostNamed {
		way := config.Nearest(name, ways)
		if way == "" {
			break
		}
		add(spelled[way]...)
		ways = slices.DeleteFunc(ways, func(w string) bool { return w == way })
	}
	for _, id := range known {
		if strings.HasPrefix(string(id), name) {
			add(id)
		}
	}
	return near
}

// listed lists names, at most so many.
func listed(ids []mesh.ProxyID) string {
	var names []string
	for _, id := range ids[:min(len(ids), mostNamed)] {
		names = append(names, string(id))
	}
	if more := len(ids) - mostNamed; more > 0 {
		return strings.Join(names, ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}
