package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/checkup"
)

// offline shows what is in files while no control plane answers, which err says.
func (s *authorityShown) offline(cmd *cobra.Command, t target, err error) error {
	found, err := checkup.LookOffline(cmd.Context(), t.checked(), err)
	if err != nil {
		return err
	}
	found.Identities = s.choose(found.Identities)
	w := cmd.OutOrStdout()
	if s.output != "short" {
		return showStructure(w, s.output, struct {
			Note      string             `json:"note"`
			Authority *api.Authority     `json:"authority,omitempty"`
			Workloads []checkup.Identity `json:"workloads"`
		}{found.Why.Error(), found.Authority, found.Identities})
	}
	noteOffline(cmd, &found)
	if a := found.Authority; a != nil {
		if a.Problem == "" {
			if err := showAuthority(w, a); err != nil {
				return err
			}
		} else {
			p := newPairs(w)
			p.line("authority", "%s", cmp.Or(a.TrustDomain, "-"))
			p.line("problem", "%s", oneLine(a.Problem))
			p.line("fix", "%s", found.Fix)
			if err := p.w.Flush(); err != nil {
				return err
			}
		}
		fmt.Fprintln(w)
	}
	return showIdentities(w, found.Identities)
}

// noteOffline says where what is shown comes from.
func noteOffline(cmd *cobra.Command, found *checkup.Offline) {
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "lateen: %s %s: this is from files in the state folder\n", painter(w)("33", "note:"), found.Why.Error())
}

// oneOffline shows one workload's certificate while no control plane answers, which err says.
func (s *authorityShown) oneOffline(cmd *cobra.Command, t target, name string, err error) error {
	found, err := checkup.LookOffline(cmd.Context(), t.checked(), err)
	if err != nil {
		return err
	}
	short := strings.TrimPrefix(name, "pod/")
	var means []*checkup.Identity
	for i := range found.Identities {
		id := &found.Identities[i]
		if first, _, _ := strings.Cut(string(id.Proxy), "."); short == string(id.Proxy) || short == first {
			means = append(means, id)
		}
	}
	if len(means) != 1 {
		return errors.Join(failed("", "%s means %d workloads with files in the state folder: name one as NAME.NAMESPACE", name, len(means)), found.Why)
	}
	noteOffline(cmd, &found)
	return s.showOne(cmd, means[0])
}
