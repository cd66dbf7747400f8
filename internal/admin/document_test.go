package admin

import (
	"strings"
	"testing"
)

// What a page tells is text, whatever it says.
func TestDocumentsHoldText(t *testing.T) {
	t.Parallel()
	const attack = `"><script>alert(1)</script><img src=x>`
	d := document{
		Title: attack, Lead: attack, Links: []link{{attack, attack, attack}},
		Table: &table{Caption: attack, Head: []string{attack}, Rows: [][]string{{attack}}, Empty: attack},
	}
	for _, rows := range [][][]string{d.Table.Rows, nil} {
		d.Table.Rows = rows
		var page strings.Builder
		if err := d.html().Render(&page); err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(page.String(), "alert(1)"); n < 6 {
			t.Errorf("the page tells it %d times:\n%s", n, page.String())
		}
		for _, bad := range []string{"<script", "<img", `""&gt;`, `"">`} {
			if strings.Contains(page.String(), bad) {
				t.Errorf("the page has %s:\n%s", bad, page.String())
			}
		}
	}
}
