package admin

import (
	"bytes"
	"net/http"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// document is a page: a heading, a sentence, and links or a table.
type document struct {
	Title string
	Lead  string
	Links []link
	Table *table
}

type link struct{ To, Text, What string }

type table struct {
	Caption string
	Head    []string
	Rows    [][]string
	Empty   string // said where there are no rows
}

const documentStyle = `
body { font: 1rem/1.6 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem }
nav a { margin-right: 1rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse; font-size: .9rem }
caption { text-align: left; padding-bottom: .5rem }
th, td { text-align: left; vertical-align: top; padding: .25rem 1rem .25rem 0; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
td { white-space: pre-line; overflow-wrap: anywhere }
:focus-visible { outline: 3px solid; outline-offset: 2px }
`

// html is the document as a whole page.
func (d document) html() g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.TitleEl(g.Text(d.Title+" – Lateen")),
			h.StyleEl(g.Raw(documentStyle)),
		),
		h.Body(
			h.Nav(h.Aria("label", "Pages"),
				h.A(h.Href("/debug/"), g.Text("Debug")), h.A(h.Href("/debug/proxies"), g.Text("Proxies")),
				h.A(h.Href("/debug/problems"), g.Text("Problems")), h.A(h.Href("/debug/snapshot"), g.Text("Snapshot")),
			),
			h.Main(h.H1(g.Text(d.Title)), h.P(g.Text(d.Lead)), links(d.Links), d.Table.html()),
		),
	))
}

func links(all []link) g.Node {
	if len(all) == 0 {
		return nil
	}
	return h.Ul(g.Map(all, func(l link) g.Node { return h.Li(h.A(h.Href(l.To), g.Text(l.Text)), g.Text(": "+l.What)) }))
}

// html is the table, in what the keyboard can scroll; or the words that there is nothing; or nothing, without a table.
func (t *table) html() g.Node {
	switch {
	case t == nil:
		return nil
	case len(t.Rows) == 0:
		return h.P(g.Text(t.Empty))
	}
	return h.Div(h.Class("scroll"), h.Role("region"), h.Aria("label", t.Caption), h.TabIndex("0"), h.Table(
		h.Caption(g.Text(t.Caption)),
		h.THead(h.Tr(g.Map(t.Head, func(word string) g.Node { return h.Th(h.Scope("col"), g.Text(word)) }))),
		h.TBody(g.Map(t.Rows, func(row []string) g.Node {
			return h.Tr(g.Map(row, func(word string) g.Node { return h.Td(g.Text(word)) }))
		})),
	))
}

// page serves a document, whole or not at all.
func (s *Server) page(of func() document) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var b bytes.Buffer
		if err := of().html().Render(&b); err != nil {
			s.refuse(w, r, err)
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = w.Write(b.Bytes()) // who asked may have gone
	}
}
