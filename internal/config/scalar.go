package config

import (
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// scalar reads a node into a Go text, number or boolean.
func (d *decoder) scalar(path string, n *yaml.Node, out reflect.Value) {
	switch out.Kind() {
	case reflect.String:
		d.string(path, n, out)
	case reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			d.mismatch(path, n, "true or false")
			return
		}
		out.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		d.int(path, n, out)
	case reflect.Float32, reflect.Float64:
		d.float(path, n, out)
	default:
		panic(fmt.Sprintf("config: cannot decode into %s", out.Type()))
	}
}

func (d *decoder) mismatch(path string, n *yaml.Node, want string) {
	d.tell(n, mesh.Problem{Field: path, Code: CodeWrongType, Message: "want " + want + ", got " + describe(n)})
}

func (d *decoder) string(path string, n *yaml.Node, out reflect.Value) {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.mismatch(path, n, "text")
	case n.ShortTag() == "!!str", n.ShortTag() == "!!timestamp":
		out.SetString(n.Value)
	default:
		d.tell(n, mesh.Problem{
			Field: path, Code: CodeWrongType, Message: "want text, got " + describe(n), Hint: "put it in quotes: " + quoted(n.Value),
		})
	}
}

// int reads an integer. A number in quotes is one too, as in proto3 JSON.
func (d *decoder) int(path string, n *yaml.Node, out reflect.Value) {
	var number int64
	var err error
	switch {
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!int":
		err = n.Decode(&number)
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" && isDigits(n.Value):
		number, err = strconv.ParseInt(n.Value, 10, 64)
	default:
		d.mismatch(path, n, "a whole number")
		return
	}
	if err != nil || out.OverflowInt(number) {
		d.tell(n, mesh.Problem{
			Field: path, Code: CodeOutOfRange, Message: abridged(n.Value) + " is too small or too large a number",
		})
		return
	}
	out.SetInt(number)
}

func isDigits(s string) bool {
	digits := strings.TrimPrefix(s, "-")
	return digits != "" && strings.Trim(digits, "0123456789") == ""
}

func (d *decoder) float(path string, n *yaml.Node, out reflect.Value) {
	var number float64
	tag := n.ShortTag()
	switch {
	case n.Kind != yaml.ScalarNode || (tag != "!!int" && tag != "!!float" && tag != "!!str"):
		d.mismatch(path, n, "a number")
		return
	case tag == "!!str":
		var err error
		if number, err = strconv.ParseFloat(n.Value, 64); err != nil {
			d.mismatch(path, n, "a number")
			return
		}
	default:
		if err := n.Decode(&number); err != nil {
			d.mismatch(path, n, "a number")
			return
		}
	}
	if math.IsNaN(number) || math.IsInf(number, 0) {
		d.tell(n, mesh.Problem{Field: path, Code: CodeOutOfRange, Message: abridged(n.Value) + " is not a finite number"})
		return
	}
	out.SetFloat(number)
}
