package bookinfo

import (
	"cmp"
	"embed"
	"net/url"
	"strconv"

	g "maragu.dev/gomponents"
	h "maragu.dev/gomponents/html"
)

// Parts of pages in which nothing changes.
//
//go:embed page
var pageFiles embed.FS

// still returns such a part.
func still(name string) g.Node {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil {
		panic(err) // it is in this program
	}
	return g.Raw(string(text))
}

const icon = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' " +
	"fill='%230f5c6e'/%3E%3Cpath d='M5 3h6v10l-3-2.4L5 13z' fill='%23f4d58d'/%3E%3C/svg%3E"

// document is a page around what it is about.
func document(style string, s sheet, about ...g.Node) g.Node {
	return h.Doctype(h.HTML(h.Lang("en"),
		h.Head(
			h.Meta(h.Charset("utf-8")),
			h.Meta(h.Name("viewport"), h.Content("width=device-width, initial-scale=1")),
			h.Meta(h.Name("color-scheme"), h.Content("light dark")),
			h.TitleEl(g.Text(s.Title+" · BookInfo")),
			h.Link(h.Rel("icon"), h.Href(icon)),
			h.StyleEl(g.Raw(style)),
		),
		h.Body(
			h.A(h.Class("skip"), h.Href("#main"), g.Text("Skip to the content")),
			h.Header(h.Class("bar"), h.Div(h.Class("wrap"),
				h.A(h.Class("brand"), h.Href("/"), still("logo.svg"), g.Text("BookInfo")),
				session(s),
			)),
			h.Main(h.ID("main"), h.Class("wrap"), h.TabIndex("-1"), g.Group(about)),
			h.Footer(h.Class("wrap foot"), g.Text("BookInfo is the demo application of Lateen. A made-up shop: the publisher and the numbers are not real.")),
		),
	))
}

// session is who is signed in, or the form for it; nothing on a page to which nobody can return.
func session(s sheet) g.Node {
	switch {
	case s.Here == "":
		return nil
	case s.User != "":
		return h.Div(h.Class("session"),
			h.Span(h.Class("who"), avatar(s.User), h.Span(h.Class("sr"), g.Text("Signed in as ")), g.Text(s.User)),
			h.A(h.Class("button quiet"), h.Href("/logout?next="+url.QueryEscape(s.Here)), g.Text("sign out")),
		)
	}
	return h.Form(h.Class("session"), h.Action("/login"), h.Method("post"),
		h.Input(h.Type("hidden"), h.Name("next"), h.Value(s.Here)),
		h.Label(h.Class("sr"), h.For("username"), g.Text("User name")),
		h.Input(h.ID("username"), h.Name("username"), h.Type("text"), h.Placeholder("User name"), h.AutoComplete("username"),
			g.Attr("autocapitalize", "none"), g.Attr("spellcheck", "false"), h.Required(), h.MaxLength("64"),
			h.Pattern(`[A-Za-z0-9._@+\-]+`), h.Title("Letters, digits and . _ @ + -")),
		h.Button(h.Class("button"), h.Type("submit"), g.Text("Sign in")),
	)
}

func avatar(name string) g.Node {
	return h.Span(h.Class("avatar"), h.Aria("hidden", "true"), g.Text(initials(name)))
}

// welcome is the first page.
func welcome(s sheet) []g.Node {
	normal := "/productpage"
	if s.User != "" {
		normal = "/logout?next=/productpage"
	}
	return []g.Node{
		h.Section(h.Class("book"), still("cover.svg"), h.Div(
			h.H1(g.Text("A bookshop with one book")),
			h.P(h.Class("lead"), g.Text("BookInfo is a small application of four services. It is here to be steered, slowed down, broken and watched, "+
				"so that you can see what a service mesh does.")),
		)),
		h.Div(h.Class("columns even"),
			h.Section(h.Class("card"), h.Aria("labelledby", "visit"),
				h.H2(h.ID("visit"), g.Text("Look at the book")),
				h.P(g.Text("Rules can treat users differently. Compare what these two see.")),
				h.Div(h.Class("choices"),
					h.A(h.Class("choice"), h.Href(normal), h.B(g.Text("Normal user")), h.Span(g.Text("nobody is signed in"))),
					h.Form(h.Action("/login"), h.Method("post"),
						h.Input(h.Type("hidden"), h.Name("next"), h.Value("/productpage")),
						h.Input(h.Type("hidden"), h.Name("username"), h.Value("jason")),
						h.Button(h.Class("choice"), h.Type("submit"), h.B(g.Text("Test user")), h.Span(g.Text("signed in as jason, no password needed"))),
					),
				),
				h.P(g.Text("Without rules, reload a few times: the reviews come from three versions in turn, with no stars, black stars and red stars.")),
			),
			still("services.html"),
		),
	}
}

// notice says one thing.
func notice(s sheet) []g.Node {
	return []g.Node{h.Section(h.Class("card notice"),
		h.H1(g.Text(s.Title)),
		h.P(g.Text(s.Text)),
		h.P(h.A(h.Class("button"), h.Href("/productpage"), g.Text("Back to the book"))),
	)}
}

// theBookPage shows the book with what the other services say of it.
func theBookPage(s sheet) []g.Node {
	var by, shapes g.Node
	if d := s.Details; d != nil {
		year := ""
		if d.Year != 0 {
			year = ", " + strconv.Itoa(d.Year)
		}
		by = h.P(h.Class("by"), g.Text(d.Author+year))
	}
	if s.Reviews != nil {
		shapes = still("star.svg")
	}
	return []g.Node{
		h.Article(
			h.Section(h.Class("book"), still("cover.svg"), h.Div(
				h.H1(g.Text(s.Book.Title)), by, h.P(h.Class("lead"), g.Text(s.Book.Description)),
			)),
			h.Div(h.Class("columns"), details(s.Details), reviews(s.Reviews)),
			made(s.Calls),
		),
		shapes,
	}
}

func details(d *bookDetails) g.Node {
	if d == nil {
		return h.Section(h.Class("card sorry"), h.Aria("labelledby", "details"),
			h.H2(h.ID("details"), g.Text("Error fetching product details!")),
			h.P(g.Text("Sorry, product details are currently unavailable for this book.")),
		)
	}
	row := func(term, description string) g.Node { return h.Div(h.Dt(g.Text(term)), h.Dd(g.Text(description))) }
	return h.Section(h.Class("card"), h.Aria("labelledby", "details"),
		h.H2(h.ID("details"), g.Text("Book Details")),
		h.Dl(
			row("Type", d.Type), row("Pages", strconv.Itoa(d.Pages)), row("Publisher", d.Publisher),
			row("Language", d.Language), row("ISBN-10", d.ISBN10), row("ISBN-13", d.ISBN13),
		),
	)
}

func reviews(r *bookReviews) g.Node {
	if r == nil {
		return h.Section(h.Class("card sorry"), h.Aria("labelledby", "reviews"),
			h.H2(h.ID("reviews"), g.Text("Error fetching product reviews!")),
			h.P(g.Text("Sorry, product reviews are currently unavailable for this book.")),
		)
	}
	var tag, hint g.Node
	if r.Version != "" {
		tag = h.Span(h.Class("tag"), g.Text("reviews "+r.Version+", "+cmp.Or(r.Color(), "no")+" stars"))
	}
	if r.RatingsError != "" {
		hint = h.P(h.Class("hint"), g.Text("No stars this time: "+r.RatingsError+"."))
	}
	all := g.Map(r.Reviews, func(one review) g.Node {
		return h.BlockQuote(
			h.P(g.Text(one.Text)),
			h.Footer(avatar(one.Reviewer), h.Cite(g.Text(one.Reviewer)), stars(one.Rating)),
		)
	})
	if len(all) == 0 {
		all = g.Group{h.P(g.Text("Nobody has reviewed this book yet."))}
	}
	return h.Section(h.Class("card"), h.Aria("labelledby", "reviews"),
		h.Div(h.Class("title"), h.H2(h.ID("reviews"), g.Text("Book Reviews")), tag),
		all, hint,
	)
}

// stars are five, so many of them full; none without a rating.
func stars(r *rating) g.Node {
	if r == nil {
		return nil
	}
	row := make(g.Group, maxStars)
	for i := range row {
		class := "glyphicon glyphicon-star"
		if i >= r.Stars {
			class += "-empty"
		}
		row[i] = h.SVG(h.Class(class), h.Aria("hidden", "true"), g.El("use", h.Href("#star")))
	}
	return h.Div(h.Class("stars"), h.Data("color", r.Color), h.Role("img"),
		h.Aria("label", strconv.Itoa(r.Stars)+" of 5 stars, "+r.Color), row)
}

// made tells how the page was made.
func made(calls []call) g.Node {
	return h.Section(h.Class("card made"), h.Aria("labelledby", "made"),
		h.H2(h.ID("made"), g.Text("How this page was made")),
		h.P(g.Text("productpage asked two services, one after the other. Reload to ask again.")),
		h.Table(
			h.THead(h.Tr(
				h.Th(h.Scope("col"), g.Text("Service")), h.Th(h.Scope("col"), g.Text("Result")),
				h.Th(h.Scope("col"), h.Class("num"), g.Text("Tries")), h.Th(h.Scope("col"), h.Class("num"), g.Text("Time")),
			)),
			h.TBody(g.Map(calls, func(c call) g.Node {
				dot := "dot bad"
				if c.Good {
					dot = "dot good"
				}
				var version, instance g.Node
				if c.Version != "" {
					version = g.Group{g.Text(" "), h.Span(g.Text(c.Version))}
				}
				if c.Instance != "" {
					instance = g.Group{g.Text(" "), h.Small(g.Text(c.Instance))}
				}
				return h.Tr(
					h.Th(h.Scope("row"), g.Text(c.Service), version, instance),
					h.Td(h.Span(h.Class(dot), h.Aria("hidden", "true")), g.Text(c.Outcome)),
					h.Td(h.Class("num"), g.Text(strconv.Itoa(c.Tries))), h.Td(h.Class("num"), g.Text(c.Took)),
				)
			})),
		),
	)
}
