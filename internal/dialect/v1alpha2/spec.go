package v1alpha2

import (
	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
)

// routeRule is the spec of a RouteRule.
type routeRule struct {
	Destination      *istioService   `yaml:"destination"`
	Precedence       int32           `yaml:"precedence"`
	Match            *matchCondition `yaml:"match"`
	Route            []weightedRoute `yaml:"route"`
	Redirect         yaml.Node       `yaml:"redirect" lateen:"later"`
	Rewrite          yaml.Node       `yaml:"rewrite" lateen:"later"`
	WebsocketUpgrade yaml.Node       `yaml:"websocketUpgrade" lateen:"later"`
	HTTPReqTimeout   *httpTimeout    `yaml:"httpReqTimeout"`
	HTTPReqRetries   *httpRetries    `yaml:"httpReqRetries"`
	HTTPFault        *httpFault      `yaml:"httpFault"`
	L4Fault          yaml.Node       `yaml:"l4Fault" lateen:"later"`
	Mirror           yaml.Node       `yaml:"mirror" lateen:"later"`
	CorsPolicy       yaml.Node       `yaml:"corsPolicy" lateen:"later"`
	AppendHeaders    yaml.Node       `yaml:"appendHeaders" lateen:"later"`
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
	TCP     yaml.Node     `yaml:"tcp" lateen:"later"`
	UDP     yaml.Node     `yaml:"udp" lateen:"never"`
	Request *matchRequest `yaml:"request"`
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

// Example shows the form that people forget.
func (stringMatch) Example() string { return "{exact: value}, {prefix: value} or {regex: value}" }

type weightedRoute struct {
	Destination *istioService     `yaml:"destination"`
	Labels      map[string]string `yaml:"labels"`
	Weight      int32             `yaml:"weight"`
}

type httpTimeout struct {
	Simple *simpleTimeout `yaml:"simpleTimeout"`
	Custom yaml.Node      `yaml:"custom" lateen:"later"`
}

// Example shows the form that people forget.
func (httpTimeout) Example() string { return "{simpleTimeout: {timeout: 10s}}" }

type simpleTimeout struct {
	Timeout            *config.Duration `yaml:"timeout"`
	OverrideHeaderName yaml.Node        `yaml:"overrideHeaderName" lateen:"later"`
}

type httpRetries struct {
	Simple *simpleRetry `yaml:"simpleRetry"`
	Custom yaml.Node    `yaml:"custom" lateen:"later"`
}

// Example shows the form that people forget.
func (httpRetries) Example() string { return "{simpleRetry: {attempts: 3, perTryTimeout: 2s}}" }

type simpleRetry struct {
	Attempts           int32            `yaml:"attempts"`
	PerTryTimeout      *config.Duration `yaml:"perTryTimeout"`
	OverrideHeaderName yaml.Node        `yaml:"overrideHeaderName" lateen:"later"`
}

type httpFault struct {
	Delay *delay `yaml:"delay"`
	Abort *abort `yaml:"abort"`
}

type delay struct {
	Percent            *float64         `yaml:"percent"`
	FixedDelay         *config.Duration `yaml:"fixedDelay"`
	ExponentialDelay   yaml.Node        `yaml:"exponentialDelay" lateen:"later"`
	OverrideHeaderName yaml.Node        `yaml:"overrideHeaderName" lateen:"later"`
}

type abort struct {
	Percent            *float64  `yaml:"percent"`
	HTTPStatus         *int32    `yaml:"httpStatus"`
	GRPCStatus         yaml.Node `yaml:"grpcStatus" lateen:"later"`
	HTTP2Error         yaml.Node `yaml:"http2Error" lateen:"later"`
	OverrideHeaderName yaml.Node `yaml:"overrideHeaderName" lateen:"later"`
}
