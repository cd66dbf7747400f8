package serve

import (
	"maps"
	"slices"

	"github.com/lateen-mesh/lateen/internal/ca"
)

// authorityFamilies are the metrics of the certificate authority.
var authorityFamilies = []family{
	{
		Metric{"lateen_ca_certificates_total", counter, []string{"by"}, "Certificates given, by what proved who asked: token, certificate (a renewal), own (the control plane's)."},
		ofAuthority(func(s *ca.Status, to *sink) {
			for _, by := range slices.Sorted(maps.Keys(s.Issued)) {
				to.number(int64(s.Issued[by]), by) //nolint:gosec // a count
			}
		}),
	},
	{
		Metric{"lateen_ca_refusals_total", counter, []string{"reason"}, "Requests for a certificate that got none."},
		ofAuthority(func(s *ca.Status, to *sink) {
			for _, reason := range ca.Reasons() {
				to.number(int64(s.Refused[reason]), string(reason)) //nolint:gosec // a count
			}
		}),
	},
	{
		Metric{"lateen_ca_waiting", gauge, nil, "Requests for a certificate that wait for their turn."},
		ofAuthority(func(s *ca.Status, to *sink) { to.number(int64(s.Waiting)) }),
	},
	{
		Metric{"lateen_ca_tokens", gauge, nil, "Join tokens that nobody has used yet."},
		ofAuthority(func(s *ca.Status, to *sink) { to.number(int64(s.Tokens)) }),
	},
	{
		Metric{"lateen_ca_root_expiry_timestamp_seconds", gauge, nil, "When the first of the trusted roots ends, in seconds since 1970."},
		ofAuthority(func(s *ca.Status, to *sink) { to.number(firstEnd(s.Roots)) }),
	},
	{
		Metric{"lateen_ca_signing_expiry_timestamp_seconds", gauge, nil, "When the first of the certificates that sign ends, in seconds since 1970."},
		ofAuthority(func(s *ca.Status, to *sink) { to.number(firstEnd(s.Issuing)) }),
	},
	{
		Metric{"lateen_ca_files_restored_total", counter, nil, "Files of the authority that were lost or changed while it ran, and were put back."},
		ofAuthority(func(s *ca.Status, to *sink) { to.number(int64(s.Restored)) }),
	},
	{
		Metric{"lateen_ca_problem", gauge, nil, "Whether the authority has a problem that somebody must do something about, 0 or 1: lateen ca show tells which."},
		ofAuthority(func(s *ca.Status, to *sink) {
			var is int64
			if s.Problem != "" {
				is = 1
			}
			to.number(is)
		}),
	},
}

// firstEnd returns when the first of the certificates ends, in seconds since 1970; 0: there is none.
func firstEnd(all []ca.Certificate) int64 {
	var first int64
	for _, c := range all {
		if end := c.NotAfter.Unix(); first == 0 || end < first {
			first = end
		}
	}
	return first
}
