package v1alpha2

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// routeRule is the spec of a RouteRule, which steers the requests to a service.
type routeRule struct {
	Destination      *istioService     `yaml:"destination"`      // the service whose requests are steered, without labels
	Precedence       int32             `yaml:"precedence"`       // rules with a higher one are tried first, equal ones by name
	Match            *matchCondition   `yaml:"match"`            // which requests are meant; missing: all
	Route            []weightedRoute   `yaml:"route"`            // where they go, by shares
	Redirect         *place            `yaml:"redirect"`         // answers with 302 and another place
	Rewrite          *place            `yaml:"rewrite"`          // what the application sees instead
	WebsocketUpgrade bool              `yaml:"websocketUpgrade"` // accepted, and without effect: WebSockets always pass
	HTTPReqTimeout   *httpTimeout      `yaml:"httpReqTimeout"`   // bounds the whole response
	HTTPReqRetries   *httpRetries      `yaml:"httpReqRetries"`   // tries that failed are repeated
	HTTPFault        *httpFault        `yaml:"httpFault"`        // requests are delayed or refused, to see what callers make of it
	L4Fault          *l4Fault          `yaml:"l4Fault"`          // connections are slowed down or ended
	Mirror           *istioService     `yaml:"mirror"`           // a service that gets a copy of each request; its answers are dropped
	CorsPolicy       *corsPolicy       `yaml:"corsPolicy"`       // which other origins browsers may call from
	AppendHeaders    map[string]string `yaml:"appendHeaders"`    // headers that are added to requests
}

// istioService names a service: by name with namespace and domain, or in full as service.
type istioService struct {
	Name      string            `yaml:"name"`      // short name of the service
	Namespace string            `yaml:"namespace"` // its namespace; missing: that of the object
	Domain    string            `yaml:"domain"`    // what follows the namespace in its host; missing: svc and the domain of the cluster
	Service   string            `yaml:"service"`   // its whole host, in place of name, namespace and domain
	Labels    map[string]string `yaml:"labels"`    // labels that endpoints, or callers, must have; missing: all are meant
}

// Example shows the usual form.
func (istioService) Example() string { return "{name: reviews}" }

type matchCondition struct {
	Source  *istioService `yaml:"source"`             // the callers that are meant; missing: every one
	TCP     *l4Match      `yaml:"tcp"`                // conditions for connections
	UDP     *yaml.Node    `yaml:"udp" lateen:"never"` // not supported
	Request *matchRequest `yaml:"request"`            // conditions for HTTP requests
}

type l4Match struct {
	SourceSubnet      []string `yaml:"sourceSubnet"`      // addresses and networks of the caller's own address
	DestinationSubnet []string `yaml:"destinationSubnet"` // addresses and networks of the address that it dialled
}

type matchRequest struct {
	Headers map[string]stringMatch `yaml:"headers"` // by name in lower case; uri, scheme, method and authority are the request's own. All must match
}

// stringMatch is one of three ways to compare a value.
type stringMatch struct {
	Exact  *string `yaml:"exact"`  // the whole value
	Prefix *string `yaml:"prefix"` // how the value begins
	Regex  *string `yaml:"regex"`  // a regular expression (RE2) for the whole value
}

// Example shows the forms.
func (stringMatch) Example() string { return "{exact: value}, {prefix: value} or {regex: value}" }

// Shorthand takes a value alone as the exact one.
func (m *stringMatch) Shorthand(text string) { m.Exact = &text }

type weightedRoute struct {
	Destination *istioService     `yaml:"destination"` // another service, at the same port; missing: the rule's
	Labels      map[string]string `yaml:"labels"`      // labels of the endpoints that get the requests; missing: all endpoints
	Weight      int32             `yaml:"weight"`      // percent, 0 to 100; all together 100
}

// place is where a redirect or a rewrite leads.
type place struct {
	URI       string `yaml:"uri"`       // the path
	Authority string `yaml:"authority"` // the host
}

// Example shows both parts.
func (place) Example() string { return "{uri: /new/path, authority: reviews}" }

type httpTimeout struct {
	Simple *simpleTimeout `yaml:"simpleTimeout"` // the bound
	Custom *yaml.Node     `yaml:"custom"`        // not supported
}

// Example shows the form that people forget.
func (httpTimeout) Example() string { return "{simpleTimeout: {timeout: 10s}}" }

type simpleTimeout struct {
	Timeout            *config.Duration `yaml:"timeout"`            // such as 10s; 0s for none
	OverrideHeaderName string           `yaml:"overrideHeaderName"` // header of the request whose value is taken instead, in milliseconds
}

type httpRetries struct {
	Simple *simpleRetry `yaml:"simpleRetry"` // how often, and how long each try may take
	Custom *yaml.Node   `yaml:"custom"`      // not supported
}

// Example shows the form that people forget.
func (httpRetries) Example() string { return "{simpleRetry: {attempts: 3, perTryTimeout: 2s}}" }

type simpleRetry struct {
	Attempts           *int32           `yaml:"attempts"`           // tries beyond the first
	PerTryTimeout      *config.Duration `yaml:"perTryTimeout"`      // bound on the beginning of the response of each try, such as 2s
	OverrideHeaderName string           `yaml:"overrideHeaderName"` // header of the request whose value is taken instead of attempts
}

type httpFault struct {
	Delay *delay `yaml:"delay"` // requests wait
	Abort *abort `yaml:"abort"` // requests are answered by the proxy, after the delay
}

type delay struct {
	Percent            *float64         `yaml:"percent"`            // share of the requests; missing: 100
	FixedDelay         *config.Duration `yaml:"fixedDelay"`         // for how long, such as 5s
	ExponentialDelay   *yaml.Node       `yaml:"exponentialDelay"`   // not supported
	OverrideHeaderName string           `yaml:"overrideHeaderName"` // header of the request whose value is taken instead, in milliseconds
}

type abort struct {
	Percent            *float64   `yaml:"percent"`            // share of the requests; missing: 100
	HTTPStatus         *int32     `yaml:"httpStatus"`         // of the answer, 200 to 599
	GRPCStatus         *word      `yaml:"grpcStatus"`         // of the answer to a call of gRPC: a name or a number
	HTTP2Error         *yaml.Node `yaml:"http2Error"`         // not supported
	OverrideHeaderName string     `yaml:"overrideHeaderName"` // header of the request whose value is taken instead of the status
}

type l4Fault struct {
	Throttle  *throttle  `yaml:"throttle"`  // responses are slowed down
	Terminate *terminate `yaml:"terminate"` // connections are ended
}

// throttle slows connections down; limits are in bits per second.
type throttle struct {
	Percent             *float64   `yaml:"percent"`             // share of the responses; missing: 100
	DownstreamLimitBps  *int64     `yaml:"downstreamLimitBps"`  // bits per second of an HTTP response
	UpstreamLimitBps    *yaml.Node `yaml:"upstreamLimitBps"`    // not supported
	ThrottleAfterPeriod *yaml.Node `yaml:"throttleAfterPeriod"` // not supported
	ThrottleAfterBytes  *yaml.Node `yaml:"throttleAfterBytes"`  // not supported
	ThrottleForPeriod   *yaml.Node `yaml:"throttleForPeriod"`   // not supported
}

type terminate struct {
	Percent              *float64         `yaml:"percent"`              // missing or 100: all connections
	TerminateAfterPeriod *config.Duration `yaml:"terminateAfterPeriod"` // after which a connection ends, such as 10s
}

type corsPolicy struct {
	AllowOrigin      []string         `yaml:"allowOrigin"`      // origins such as https://example.com, or *
	AllowMethods     []string         `yaml:"allowMethods"`     // methods that may be used
	AllowHeaders     []string         `yaml:"allowHeaders"`     // headers that may be sent
	ExposeHeaders    []string         `yaml:"exposeHeaders"`    // headers that scripts may read
	MaxAge           *config.Duration `yaml:"maxAge"`           // for how long an answer to a preflight request holds
	AllowCredentials bool             `yaml:"allowCredentials"` // whether cookies and the like may be sent
}

// word is a value as it is written, text or number.
type word string

// UnmarshalText takes anything.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return nil
}
