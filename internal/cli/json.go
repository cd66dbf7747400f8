package cli

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/source/state"
)

// list is Kubernetes' form of any number of objects.
type list struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Items      []any  `json:"items"`
}

// showJSON prints one object, or a List if a list was asked for: one JSON value, which the commands that write objects
// take back.
func showJSON(w io.Writer, objects []api.Object, asList bool) error {
	items := []any{}
	for _, o := range objects {
		item, err := state.Value([]byte(o.Text))
		if err != nil {
			return fmt.Errorf("%s: %w", o.Ref, err)
		}
		items = append(items, item)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if !asList && len(items) == 1 {
		return e.Encode(items[0])
	}
	return e.Encode(list{APIVersion: "v1", Kind: "List", Items: items})
}
