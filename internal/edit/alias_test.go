package edit

import "testing"

// TestAliases shows that what aliases and merges stand for elsewhere stays as it was.
func TestAliases(t *testing.T) {
	for _, test := range []struct {
		name, before string
		path         []string // of the mapping that gets k: v
		want         string
	}{
		{
			"what an alias stands for", "a: &a\n  b: {x: y}\nc: *a\n",
			[]string{"a", "b"},
			"a: &a\n  b: {\"k\": \"v\", x: y}\nc: {b: {x: y}}\n",
		},
		{
			"an alias", "a: &a\n  b: {x: y}\nc: *a # c\n",
			[]string{"c", "b"},
			"a: &a\n  b: {x: y}\nc: {b: {x: y, \"k\": \"v\"}} # c\n",
		},
		{
			"a merge", "a: &a {x: y}\nb:\n  <<: *a\n  z: 1\n",
			[]string{"a"},
			"a: &a {\"k\": \"v\", x: y}\nb:\n  <<: {x: y}\n  z: 1\n",
		},
		{
			"what is merged", "a: &a {x: {y: yes}}\nb:\n  <<: *a\n  z: 1\n",
			[]string{"b", "x"},
			"a: &a {x: {y: yes}}\nb:\n  <<: *a\n  z: 1\n  x:\n    y: yes\n    k: v\n",
		},
		{
			"an alias in an alias", "a: &a {x: y}\nb: &b {a: *a}\nc: *b\n",
			[]string{"a"},
			"a: &a {\"k\": \"v\", x: y}\nb: &b {a: {x: y}}\nc: *b\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, err := Parse(Text{Text: test.before, Line: 1})
			if err != nil {
				t.Fatal(err)
			}
			c := &Change{}
			at := c
			for _, key := range test.path {
				at = at.Key(key)
			}
			at.Add("k", Scalar("v"))
			got, anew, err := d.Apply(c)
			if err != nil || anew || got != test.want {
				t.Errorf("%v, anew: %v\n%s\nwant\n%s", err, anew, got, test.want)
			}
		})
	}
}

// TestSharedGrowth shows that an alias stays when it is to become what it stands for.
func TestSharedGrowth(t *testing.T) {
	d, err := Parse(Text{Text: "a: &a\n  x: y\nb: *a\n", Line: 1})
	if err != nil {
		t.Fatal(err)
	}
	c := &Change{}
	c.Key("a").Add("k", Scalar("v"))
	c.Key("b").Add("k", Scalar("v"))
	got, anew, err := d.Apply(c)
	if want := "a: &a\n  x: y\n  k: v\nb: *a\n"; err != nil || anew || got != want {
		t.Errorf("%v, anew: %v\n%s\nwant\n%s", err, anew, got, want)
	}
}
