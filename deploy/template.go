package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"text/template/parse"
)

// What the templates of the chart may use, of all that text/template has: the values, `if`, and a value in quotes. Not the whole
// of it stands in this program, because it calls methods by names that it reads: the linker then keeps every method of every
// type, which makes the program larger by a sixth ([decision 46](../docs/decisions/0046-nothing-calls-methods-by-name.md)).
// A test compares with text/template itself.

// errForm says that a template uses more.
var errForm = errors.New("the templates of the chart have values, `if` and `printf \"%q\"`")

// fill writes a template of the chart with these values.
func fill(out *bytes.Buffer, name, text string, values map[string]any) error {
	trees, err := parse.Parse(name, text, "", "", map[string]any{"printf": fmt.Sprintf})
	if err != nil {
		return err
	}
	tree := trees[name]
	if err := fillList(out, tree.Root, values); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func fillList(out *bytes.Buffer, list *parse.ListNode, values map[string]any) error {
	if list == nil { // an `if` without `else`
		return nil
	}
	for _, node := range list.Nodes {
		var err error
		switch node := node.(type) {
		case *parse.TextNode:
			out.Write(node.Text)
		case *parse.ActionNode:
			var v any
			if v, err = valueOf(node.Pipe, values); err == nil {
				fmt.Fprint(out, v)
			}
		case *parse.IfNode:
			var v any
			if v, err = valueOf(node.Pipe, values); err != nil {
				break
			}
			branch := node.List
			if v == "" || v == 0 || v == false {
				branch = node.ElseList
			}
			err = fillList(out, branch, values)
		default:
			err = fmt.Errorf("%s: %w", node, errForm)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// valueOf returns what stands between braces: a value by its path, or one in quotes.
func valueOf(pipe *parse.PipeNode, values map[string]any) (any, error) {
	if len(pipe.Cmds) != 1 || len(pipe.Decl) != 0 {
		return nil, fmt.Errorf("%s: %w", pipe, errForm)
	}
	quoted, args := false, pipe.Cmds[0].Args
	if len(args) == 3 && args[0].String() == "printf" && args[1].String() == `"%q"` {
		quoted, args = true, args[2:]
	}
	field, ok := args[0].(*parse.FieldNode)
	if !ok || len(args) != 1 {
		return nil, fmt.Errorf("%s: %w", pipe, errForm)
	}
	var v any = values
	for _, key := range field.Ident {
		of, _ := v.(map[string]any)
		if v, ok = of[key]; !ok {
			return nil, fmt.Errorf("there is no value .%s", strings.Join(field.Ident, "."))
		}
	}
	if quoted {
		return fmt.Sprintf("%q", v), nil
	}
	return v, nil
}
