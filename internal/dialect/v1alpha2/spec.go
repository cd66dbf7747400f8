package v1alpha2

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// routeRule is the spec of a RouteRule.
type routeRule struct {
	Destination      *istioService     `yaml:"destination"`
	Precedence       int32             `yaml:"precedence"`
	Match            *matchCondition   `yaml:"match"`
	Route            []weightedRoute   `yaml:"route"`
	Redirect         *place            `yaml:"redirect"`
	Rewrite          *place            `yaml:"rewrite"`
	WebsocketUpgrade bool              `yaml:"websocketUpgrade"`
	HTTPReqTimeout   *httpTimeout      `yaml:"httpReqTimeout"`
	HTTPReqRetries   *httpRetries      `yaml:"httpReqRetries"`
	HTTPFault        *httpFault        `yaml:"httpFault"`
	L4Fault          *l4Fault          `yaml:"l4Fault"`
	Mirror           *istioService     `yaml:"mirror"`
	CorsPolicy       *corsPolicy       `yaml:"corsPolicy"`
	AppendHeaders    map[string]string `yaml:"appendHeaders"`
}

// istioService names a service: by name with namespace and domain, or in full as service.
type istioService struct {
	Name      string            `yaml:"name"`
	Namespace string            `yaml:"namespace"`
	Domain    string            `yaml:"domain"`
	Service   string            `yaml:"service"`
	Labels    map[string]string `yaml:"labels"`
}

// Example shows the usual form.
func (istioService) Example() string { return "{name: reviews}" }

type matchCondition struct {
	Source  *istioService `yaml:"source"`
	TCP     *l4Match      `yaml:"tcp"`
	UDP     *yaml.Node    `yaml:"udp" lateen:"never"`
	Request *matchRequest `yaml:"request"`
}

type l4Match struct {
	SourceSubnet      []string `yaml:"sourceSubnet"`
	DestinationSubnet []string `yaml:"destinationSubnet"`
}

type matchRequest struct {
	Headers map[string]stringMatch `yaml:"headers"`
}

// stringMatch is one of three ways to compare a value.
type stringMatch struct {
	Exact  *string `yaml:"exact"`
	Prefix *string `yaml:"prefix"`
	Regex  *string `yaml:"regex"`
}

// Example shows the forms.
func (stringMatch) Example() string { return "{exact: value}, {prefix: value} or {regex: value}" }

// Shorthand takes a value alone as the exact one.
func (m *stringMatch) Shorthand(text string) { m.Exact = &text }

type weightedRoute struct {
	Destination *istioService     `yaml:"destination"`
	Labels      map[string]string `yaml:"labels"`
	Weight      int32             `yaml:"weight"`
}

// place is where a redirect or a rewrite leads.
type place struct {
	URI       string `yaml:"uri"`
	Authority string `yaml:"authority"`
}

// Example shows both parts.
func (place) Example() string { return "{uri: /new/path, authority: reviews}" }

type httpTimeout struct {
	Simple *simpleTimeout `yaml:"simpleTimeout"`
	Custom *yaml.Node     `yaml:"custom"`
}

// Example shows the form that people forget.
func (httpTimeout) Example() string { return "{simpleTimeout: {timeout: 10s}}" }

type simpleTimeout struct {
	Timeout            *config.Duration `yaml:"timeout"`
	OverrideHeaderName string           `yaml:"overrideHeaderName"`
}

type httpRetries struct {
	Simple *simpleRetry `yaml:"simpleRetry"`
	Custom *yaml.Node   `yaml:"custom"`
}

// Example shows the form that people forget.
func (httpRetries) Example() string { return "{simpleRetry: {attempts: 3, perTryTimeout: 2s}}" }

type simpleRetry struct {
	Attempts           *int32           `yaml:"attempts"`
	PerTryTimeout      *config.Duration `yaml:"perTryTimeout"`
	OverrideHeaderName string           `yaml:"overrideHeaderName"`
}

type httpFault struct {
	Delay *delay `yaml:"delay"`
	Abort *abort `yaml:"abort"`
}

type delay struct {
	Percent            *float64         `yaml:"percent"`
	FixedDelay         *config.Duration `yaml:"fixedDelay"`
	ExponentialDelay   *yaml.Node       `yaml:"exponentialDelay"`
	OverrideHeaderName string           `yaml:"overrideHeaderName"`
}

type abort struct {
	Percent            *float64   `yaml:"percent"`
	HTTPStatus         *int32     `yaml:"httpStatus"`
	GRPCStatus         *word      `yaml:"grpcStatus"`
	HTTP2Error         *yaml.Node `yaml:"http2Error"`
	OverrideHeaderName string     `yaml:"overrideHeaderName"`
}

type l4Fault struct {
	Throttle  *throttle  `yaml:"throttle"`
	Terminate *terminate `yaml:"terminate"`
}

// throttle slows connections down; limits are in bits per second.
type throttle struct {
	Percent             *float64   `yaml:"percent"`
	DownstreamLimitBps  *int64     `yaml:"downstreamLimitBps"`
	UpstreamLimitBps    *yaml.Node `yaml:"upstreamLimitBps"`
	ThrottleAfterPeriod *yaml.Node `yaml:"throttleAfterPeriod"`
	ThrottleAfterBytes  *yaml.Node `yaml:"throttleAfterBytes"`
	ThrottleForPeriod   *yaml.Node `yaml:"throttleForPeriod"`
}

type terminate struct {
	Percent              *float64         `yaml:"percent"`
	TerminateAfterPeriod *config.Duration `yaml:"terminateAfterPeriod"`
}

type corsPolicy struct {
	AllowOrigin      []string         `yaml:"allowOrigin"`
	AllowMethods     []string         `yaml:"allowMethods"`
	AllowHeaders     []string         `yaml:"allowHeaders"`
	ExposeHeaders    []string         `yaml:"exposeHeaders"`
	MaxAge           *config.Duration `yaml:"maxAge"`
	AllowCredentials bool             `yaml:"allowCredentials"`
}

// word is a value as it is written, text or number.
type word string

// UnmarshalText takes anything.
func (w *word) UnmarshalText(text []byte) error {
	*w = word(text)
	return nil
}
