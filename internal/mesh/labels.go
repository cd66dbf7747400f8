package mesh

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Labels are the key-value pairs that tell workloads apart, for instance version=v2.
type Labels map[string]string

// String returns the labels as "k=v,k2=v2", sorted by key; no labels give "".
func (l Labels) String() string {
	pairs := make([]string, 0, len(l))
	for _, k := range slices.Sorted(maps.Keys(l)) {
		pairs = append(pairs, k+"="+l[k])
	}
	return strings.Join(pairs, ",")
}

// Select tells whether a workload with labels is meant by the selector l: every pair of l is in labels.
// An empty selector means every workload.
func (l Labels) Select(labels Labels) bool {
	for k, v := range l {
		if got, ok := labels[k]; !ok || got != v {
			return false
		}
	}
	return true
}

// ParseLabels reads what [Labels.String] wrote.
func ParseLabels(s string) (Labels, error) {
	if s == "" {
		return nil, nil
	}
	labels := Labels{}
	for pair := range strings.SplitSeq(s, ",") {
		k, v, ok := strings.Cut(pair, "=")
		if !ok || k == "" {
			return nil, fmt.Errorf("label %q is not of the form key=value", pair)
		}
		labels[k] = v
	}
	return labels, nil
}
