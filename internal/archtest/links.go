package archtest

import (
	"fmt"
	"io/fs"
	"net/url"
	"path"
	"regexp"
	"strings"
	"unicode"
)

// checkLinks wants every relative link in Markdown to lead to a file or folder, and its #anchor to a heading. Links are
// read as GitHub reads them: one that begins with a slash starts at the root of the repository.
func checkLinks(root fs.FS) ([]string, error) {
	pages := map[string]page{}
	err := walk(root, func(name string) error {
		if path.Ext(name) != ".md" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		pages[name] = readPage(string(text))
		return err
	})
	if err != nil {
		return nil, err
	}
	var wrong []string
	err = walk(root, func(name string) error {
		for _, target := range pages[name].links {
			if reason := follow(root, pages, name, target); reason != "" {
				wrong = append(wrong, fmt.Sprintf("%s: link %s: %s", name, target, reason))
			}
		}
		return nil
	})
	return wrong, err
}

// follow says why a link leads nowhere, or nothing.
func follow(root fs.FS, pages map[string]page, from, link string) string {
	target, err := url.Parse(link)
	if err != nil {
		return err.Error()
	}
	if target.Scheme != "" || target.Host != "" {
		return "" // the tests have no network
	}
	name := from
	if rooted, ok := strings.CutPrefix(target.Path, "/"); ok {
		name = path.Clean(rooted)
	} else if target.Path != "" {
		name = path.Join(path.Dir(from), target.Path)
	}
	if _, err := fs.Stat(root, name); err != nil {
		return fmt.Sprintf("there is no %s", name)
	}
	page, ok := pages[name]
	if ok && target.Fragment != "" && !page.anchors[target.Fragment] {
		return fmt.Sprintf("%s has no heading #%s", name, target.Fragment)
	}
	return ""
}

// page is what links need to know of a Markdown file.
type page struct {
	links   []string
	anchors map[string]bool
}

var (
	codeSpan  = regexp.MustCompile("`[^`]*`")
	inline    = regexp.MustCompile(`\]\(\s*<?([^)\s>]+)>?(?:\s+["'(][^)]*)?\)`)
	reference = regexp.MustCompile(`^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)`)
	attribute = regexp.MustCompile(`\b(?:href|src|srcset)="([^"]+)"`)
	named     = regexp.MustCompile(`\b(?:id|name)="([^"]+)"`)
	heading   = regexp.MustCompile(`^#{1,6}\s+(.*?)\s*#*$`)
	linkText  = regexp.MustCompile(`!?\[([^\]]*)\]\([^)]*\)`)
)

func readPage(markdown string) page {
	p := page{anchors: map[string]bool{}}
	fence := ""
	for line := range strings.SplitSeq(markdown, "\n") {
		bare := strings.TrimSpace(line)
		if fence != "" {
			if strings.HasPrefix(bare, fence) {
				fence = ""
			}
			continue
		}
		if strings.HasPrefix(bare, "```") || strings.HasPrefix(bare, "~~~") {
			fence = bare[:3]
			continue
		}
		if match := heading.FindStringSubmatch(line); match != nil {
			p.addHeading(match[1])
		}
		prose := codeSpan.ReplaceAllString(line, "``")
		for _, kind := range []*regexp.Regexp{inline, reference, attribute} {
			for _, match := range kind.FindAllStringSubmatch(prose, -1) {
				p.links = append(p.links, match[1])
			}
		}
		for _, match := range named.FindAllStringSubmatch(prose, -1) {
			p.anchors[match[1]] = true
		}
	}
	return p
}

// addHeading adds the anchor that GitHub gives a heading: lower case, no punctuation, hyphens for spaces, and a number
// from the second of the same name on.
func (p page) addHeading(text string) {
	text = linkText.ReplaceAllString(text, "$1")
	slug := strings.Map(func(c rune) rune {
		switch {
		case c == ' ':
			return '-'
		case unicode.IsLetter(c), unicode.IsNumber(c), c == '-', c == '_':
			return unicode.ToLower(c)
		}
		return -1
	}, text)
	anchor := slug
	for n := 1; p.anchors[anchor]; n++ {
		anchor = fmt.Sprintf("%s-%d", slug, n)
	}
	p.anchors[anchor] = true
}
