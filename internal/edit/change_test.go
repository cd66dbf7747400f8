package edit

import (
	"strings"
	"testing"
)

// TestApply shows the forms that a document can have. Of each, "b" grows by a key, the list "c" by an item, and what was
// added is taken out again.
func TestApply(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{
			"block", "a: 1\nb:\n  x: y\nc:\n- z\n",
			"a: 1\nb:\n  x: y\n  k: v\nc:\n- i: 1\n- z\n",
		},
		{
			"indented items", "b:\n  x: y\nc:\n  - z\n",
			"b:\n  x: y\n  k: v\nc:\n  - i: 1\n  - z\n",
		},
		{
			"odd indentation", "b:\n     x:\n       y: z\nc:\n   -   z\n",
			"b:\n     x:\n       y: z\n     k: v\nc:\n   - i: 1\n   -   z\n",
		},
		{
			"no final line end", "c:\n- z\nb:\n  x: y",
			"c:\n- i: 1\n- z\nb:\n  x: y\n  k: v",
		},
		{
			"one line", "b: {x: y}",
			"b: {\"k\": \"v\", x: y}",
		},
		{
			"CR LF", "b:\r\n  x: y\r\nc:\r\n- z\r\n",
			"b:\r\n  x: y\r\n  k: v\r\nc:\r\n- i: 1\r\n- z\r\n",
		},
		{
			"CR LF and no final line end", "a: b\r\nb:\r\n  x: y",
			"a: b\r\nb:\r\n  x: y\r\n  k: v",
		},
		{
			"comments", "b: # of b\n  # of x\n  x: y # of y\n\n  # last of b\n# of c\nc: # c\n\n# of z\n- z\n# end\n",
			"b: # of b\n  # of x\n  x: y # of y\n  k: v\n\n  # last of b\n# of c\nc: # c\n- i: 1\n\n# of z\n- z\n# end\n",
		},
		{
			"comments behind", "b:\n  x: y\n  # z: 1\n# of c\nc:\n- z\n",
			"b:\n  x: y\n  # z: 1\n  k: v\n# of c\nc:\n- i: 1\n- z\n",
		},
		{
			"literal text", "b:\n  x: |\n    # no comment\n\n    # nor this\n\n\n# comment\nc:\n- z\n",
			"b:\n  x: |\n    # no comment\n\n    # nor this\n  k: v\n\n\n# comment\nc:\n- i: 1\n- z\n",
		},
		{
			"literal text that keeps its end", "b:\n  x: |+\n    y\n\n\nc:\n- z\n",
			"b:\n  x: |+\n    y\n\n\n  k: v\nc:\n- i: 1\n- z\n",
		},
		{
			"literal text at the end", "b:\n  x: >-\n    # y\n",
			"b:\n  x: >-\n    # y\n  k: v\n",
		},
		{
			"literal text with its indentation", "b:\n  x: |1\n    # y\n   # z\n  # c\n",
			"b:\n  x: |1\n    # y\n   # z\n  # c\n  k: v\n",
		},
		{
			"a comment behind literal text with its indentation", "b:\n  x: |1\n    y\n # c\n",
			"b:\n  x: |1\n    y\n  k: v\n # c\n",
		},
		{
			"empty literal text", "b:\n  x: |\n  # c\nc:\n- z\n",
			"b:\n  x: |\n  # c\n  k: v\nc:\n- i: 1\n- z\n",
		},
		{
			"quotes over lines", "b:\n  x: \"y\n\n    # no comment\"\nc:\n- z\n",
			"b:\n  x: \"y\n\n    # no comment\"\n  k: v\nc:\n- i: 1\n- z\n",
		},
		{
			"plain text over lines", "b:\n  x: y\n    z\n\n    'z'\n# c\n",
			"b:\n  x: y\n    z\n\n    'z'\n  k: v\n# c\n",
		},
		{
			"brackets over lines", "b:\n  x: [1,\n    # ]\n    2\n    ] # c\n",
			"b:\n  x: [1,\n    # ]\n    2\n    ] # c\n  k: v\n",
		},
		{
			"brackets", "b: {x: y, z: 'it''s'}\nc: [z]\n",
			"b: {\"k\": \"v\", x: y, z: 'it''s'}\nc: [{\"i\": 1}, z]\n",
		},
		{
			"spaced brackets", "b: { x: y } # c\nc: [ z ]\n",
			"b: { \"k\": \"v\", x: y } # c\nc: [ {\"i\": 1}, z ]\n",
		},
		{
			"empty brackets", "b: {}\nc: [ ]\n",
			"b: {\"k\": \"v\"}\nc: [{\"i\": 1} ]\n",
		},
		{
			"null", "b:\nc: # c\na: 1\n",
			"b:\n  k: v\nc: # c\n  - i: 1\na: 1\n",
		},
		{
			"dash on a line of its own", "c:\n-\n  z: 1\n",
			"c:\n- i: 1\n-\n  z: 1\n",
		},
		{
			"list of lists", "c:\n- - z\n  - z\n",
			"c:\n- i: 1\n- - z\n  - z\n",
		},
		{
			"anchors and tags", "b: &b\n  x: y\nc: &c !!seq\n  - &z z\nd: !!map {}\n",
			"b: &b\n  x: y\n  k: v\nc: &c !!seq\n  - i: 1\n  - &z z\nd: !!map {}\n",
		},
		{
			"anchor on a line of its own", "c:\n  &c\n  - z\n",
			"c:\n  &c\n  - i: 1\n  - z\n",
		},
		{
			"anchors before brackets", "b: &b {x: y}\nc: !!seq [z]\n",
			"b: &b {\"k\": \"v\", x: y}\nc: !!seq [{\"i\": 1}, z]\n",
		},
		{
			"document marker", "--- # doc\nb:\n  x: y\n",
			"--- # doc\nb:\n  x: y\n  k: v\n",
		},
		{
			"document in the line of its marker", "--- {b: {x: y}}\n",
			"--- {b: {\"k\": \"v\", x: y}}\n",
		},
		{
			"byte order mark", "\ufeffb:\n  x: y\n",
			"\ufeffb:\n  x: y\n  k: v\n",
		},
		{
			"byte order mark and brackets", "\ufeff{b: {x: y}}",
			"\ufeff{b: {\"k\": \"v\", x: y}}",
		},
		{
			"tabs in text", "b:\n  x: \"\ty\"\t# c\n  y: a\tb\n",
			"b:\n  x: \"\ty\"\t# c\n  y: a\tb\n  k: v\n",
		},
		{
			"letters of several bytes", "ä: ö\nb: {ü: \"é\"}\n",
			"ä: ö\nb: {\"k\": \"v\", ü: \"é\"}\n",
		},
		{
			"other line ends", "a: \"x\u2028 y\"\nb:\n  x: \"y\u0085\n    z\"\n",
			"a: \"x\u2028 y\"\nb:\n  x: \"y\u0085\n    z\"\n  k: v\n",
		},
		{
			"JSON", "{\"b\":{\"x\":\"y\"},\"c\":[1]}",
			"{\"b\":{\"k\": \"v\",\"x\":\"y\"},\"c\":[{\"i\": 1},1]}",
		},
		{
			"JSON over lines", "{\n    \"b\": {\n        \"x\": \"\\ud83d\\ude00\"\n    },\n    \"c\": [\n        1\n    ]\n}\n",
			"{\n    \"b\": {\n        \"k\": \"v\",\n        \"x\": \"\\ud83d\\ude00\"\n    },\n    \"c\": [\n        {\n            \"i\": 1\n        },\n        1\n    ]\n}\n",
		},
		{
			"JSON with tabs", "{\n\t\"b\": {\n\t\t\"x\": \"y\"\n\t},\n\t\"c\": [\n\t\t1\n\t]\n}\n",
			"{\n\t\"b\": {\n\t\t\"k\": \"v\",\n\t\t\"x\": \"y\"\n\t},\n\t\"c\": [\n\t\t{\n\t\t\t\"i\": 1\n\t\t},\n\t\t1\n\t]\n}\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) { check(t, test.text, test.want) })
	}
}

func check(t *testing.T, before, want string) {
	t.Helper()
	d, err := Parse(Text{Text: before, Line: 1, JSON: strings.HasPrefix(before, "{\"") || strings.HasPrefix(before, "{\n")})
	if err != nil {
		t.Fatal(err)
	}
	item, err := Tree([]byte(`{"i":1}`))
	if err != nil {
		t.Fatal(err)
	}
	c := &Change{}
	if Field(d.Root, "b") != nil {
		c.Key("b").Add("k", Scalar("v"))
	}
	if Field(d.Root, "c") != nil {
		c.Key("c").Prepend(item)
	}
	got, anew, err := d.Apply(c)
	if err != nil || anew {
		t.Fatalf("%v, anew: %v\n%s", err, anew, got)
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	d, err = Parse(Text{Text: got, Line: 1, JSON: strings.HasPrefix(before, "{\"") || strings.HasPrefix(before, "{\n")})
	if err != nil {
		t.Fatal(err)
	}
	c = &Change{}
	if Field(d.Root, "b") != nil {
		c.Key("b").Remove("k")
	}
	if Field(d.Root, "c") != nil {
		c.Key("c").Drop(0)
	}
	back, _, err := d.Apply(c)
	if err != nil || back != before {
		t.Errorf("back: %v\n%q\nwant\n%q", err, back, before)
	}
}
