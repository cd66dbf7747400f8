package local

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// show tells how far the mesh is; once all of it runs, or has failed, where people find it.
func (c *crew) show() {
	waiting, broken := slices.Clone(c.held), []string(nil)
	ready, total := 0, 0
	for _, w := range c.wanted {
		total += w.Replicas
	}
	for _, m := range c.members {
		switch {
		case m.leaving:
		case m.is == inForce:
			ready++
		case m.is == failed:
			broken = append(broken, m.instance.Name)
		default:
			waiting = append(waiting, m.instance.Name)
		}
	}
	slices.Sort(waiting)
	slices.Sort(broken)
	if len(waiting) > 0 {
		c.site.console.progress(fmt.Sprintf("%d of %d ready, waiting for %s", ready, total, strings.Join(waiting, ", ")))
		return
	}
	c.site.console.progress("")
	if c.running {
		return
	}
	c.running = true
	c.site.console.say("%d of %d ready after %.1f s%s", ready, total, time.Since(c.began).Seconds(), suffix(broken))
	for _, url := range c.urls(c.door()) {
		c.site.console.say("%s", url)
	}
}

func suffix(broken []string) string {
	if len(broken) == 0 {
		return ""
	}
	return "; not " + strings.Join(broken, ", ")
}

// door returns where the ingress takes requests, without ports when there is none.
func (c *crew) door() Door {
	for _, w := range c.wanted {
		if w.Type == mesh.Ingress {
			return w.Door
		}
	}
	return Door{}
}
