package bookinfo

import "net/http"

// forwarded returns what a service passes on of a request to the services it
// calls: the signed-in user, by which rules steer, and the trace. Any other
// cookie or header stays here.
func forwarded(r *http.Request) http.Header {
	h := http.Header{}
	for _, name := range []string{
		"X-Request-Id",
		"X-B3-Traceid", "X-B3-Spanid", "X-B3-Parentspanid", "X-B3-Sampled", "X-B3-Flags",
		"X-Ot-Span-Context",
		"Traceparent", "Tracestate", // W3C Trace Context, which the original did not know
	} {
		if v := r.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	if user := signedIn(r); user != "" {
		h.Set("Cookie", userCookie+"="+user)
	}
	return h
}
