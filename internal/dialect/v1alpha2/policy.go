package v1alpha2

import (
	"fmt"
	"math"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// destinationPolicy is the spec of a DestinationPolicy, which says how requests to a service are spread and bounded.
type destinationPolicy struct {
	Destination    *istioService   `yaml:"destination"`    // the service to which requests are sent; with labels, only the endpoints that a route selects with the same
	Source         *istioService   `yaml:"source"`         // the callers that are meant; missing: every one
	LoadBalancing  *loadBalancing  `yaml:"loadBalancing"`  // how an endpoint is chosen
	CircuitBreaker *circuitBreaker `yaml:"circuitBreaker"` // bounds on what callers send, and when an endpoint is set aside
}

type loadBalancing struct {
	Name   word       `yaml:"name"`   // ROUND_ROBIN, LEAST_CONN or RANDOM
	Custom *yaml.Node `yaml:"custom"` // not supported
}

// Example shows the form that people forget.
func (loadBalancing) Example() string { return "{name: RANDOM}" }

type circuitBreaker struct {
	Simple *simpleBreaker `yaml:"simpleCb"` // the bounds
	Custom *yaml.Node     `yaml:"custom"`   // not supported
}

// Example shows the form that people forget.
func (circuitBreaker) Example() string { return "{simpleCb: {maxConnections: 100}}" }

type simpleBreaker struct {
	MaxConnections               *int32           `yaml:"maxConnections"`               // of each caller's proxy; missing: 1024
	HTTPMaxPendingRequests       *int32           `yaml:"httpMaxPendingRequests"`       // of each caller's proxy; missing: 1024
	HTTPMaxRequests              *int32           `yaml:"httpMaxRequests"`              // of each caller's proxy, open at the same time; missing: 1024
	SleepWindow                  *config.Duration `yaml:"sleepWindow"`                  // for how long an endpoint is set aside the first time; missing: 30s
	HTTPConsecutiveErrors        *int32           `yaml:"httpConsecutiveErrors"`        // failures in a row after which an endpoint is set aside; missing: 5
	HTTPDetectionInterval        *config.Duration `yaml:"httpDetectionInterval"`        // between two looks at all endpoints; missing: 10s
	HTTPMaxRequestsPerConnection *int32           `yaml:"httpMaxRequestsPerConnection"` // then the connection is closed; 0 or missing: no bound
	HTTPMaxEjectionPercent       *int32           `yaml:"httpMaxEjectionPercent"`       // of the endpoints, that may be set aside at the same time; missing: 10
}

// destinationPolicy checks a DestinationPolicy and says what it means.
func (t *translator) destinationPolicy() config.Meaning {
	var spec destinationPolicy
	t.Decode("spec", &spec)
	policy := &mesh.DestinationPolicy{Object: t.Object.Ref, Origin: t.Object.Origin}
	if spec.Destination == nil {
		t.Missing("spec.destination", "a policy needs a destination: the service to which requests are sent")
	} else {
		policy.Destination = t.host("spec.destination", spec.Destination)
		policy.Labels = t.target("spec.destination", policy.Destination, spec.Destination)
	}
	if spec.Source != nil {
		policy.Source = t.source("spec.source", spec.Source)
	}
	if spec.LoadBalancing != nil {
		policy.Balancer = t.balancer("spec.loadBalancing", spec.LoadBalancing)
	}
	if spec.CircuitBreaker != nil {
		policy.Breaker = t.breaker("spec.circuitBreaker", spec.CircuitBreaker)
	}
	if spec.LoadBalancing == nil && spec.CircuitBreaker == nil {
		t.Warn(mesh.Problem{
			Field: "spec", Code: config.CodeNoEffect, Message: "the policy says nothing", Hint: "write loadBalancing or circuitBreaker",
		})
		return config.Meaning{}
	}
	return config.Meaning{Policies: []*mesh.DestinationPolicy{policy}}
}

func (t *translator) balancer(field string, l *loadBalancing) mesh.Balancer {
	known := []string{string(mesh.RoundRobin), string(mesh.LeastRequest), string(mesh.Random)}
	t.refuse(field+".custom", l.Custom, "custom balancers are not supported", "write name: RANDOM, for instance")
	switch name := mesh.Balancer(l.Name); name {
	case mesh.RoundRobin, mesh.LeastRequest, mesh.Random:
		return name
	case "":
		t.Missing(field+".name", "the name of the balancer is missing, such as RANDOM")
	default:
		t.Tell(mesh.Problem{
			Field: field + ".name", Code: config.CodeInvalidValue, Message: fmt.Sprintf("%.70q is not a balancer", name),
			Hint: config.Suggest(string(name), "known names", known),
		})
	}
	return ""
}

// breaker returns the bounds, with the default for each that is not there.
func (t *translator) breaker(field string, c *circuitBreaker) *mesh.Breaker {
	t.refuse(field+".custom", c.Custom, "custom circuit breakers are not supported", "write simpleCb")
	field += ".simpleCb"
	if c.Simple == nil {
		t.Missing(field, "the circuit breaker is missing: write {simpleCb: {maxConnections: 100}}")
		return nil
	}
	s := c.Simple
	const most = math.MaxInt32
	return &mesh.Breaker{
		MaxConnections:           t.bound(field+".maxConnections", s.MaxConnections, bound{1024, 1, most}),
		MaxPendingRequests:       t.bound(field+".httpMaxPendingRequests", s.HTTPMaxPendingRequests, bound{1024, 1, most}),
		MaxRequests:              t.bound(field+".httpMaxRequests", s.HTTPMaxRequests, bound{1024, 1, most}),
		MaxRequestsPerConnection: t.bound(field+".httpMaxRequestsPerConnection", s.HTTPMaxRequestsPerConnection, bound{0, 0, most}),
		Outlier: mesh.Outlier{
			ConsecutiveErrors:  t.bound(field+".httpConsecutiveErrors", s.HTTPConsecutiveErrors, bound{5, 1, most}),
			Interval:           t.spanOr(field+".httpDetectionInterval", s.HTTPDetectionInterval, mesh.Duration(10*time.Second)),
			Ejection:           t.spanOr(field+".sleepWindow", s.SleepWindow, mesh.Duration(30*time.Second)),
			MaxEjectionPercent: t.bound(field+".httpMaxEjectionPercent", s.HTTPMaxEjectionPercent, bound{10, 0, 100}),
		},
	}
}

// bound is a number's default and its range.
type bound struct{ usual, least, most int }

// bound returns the number at field, which has to lie within b, or the default.
func (t *translator) bound(field string, value *int32, b bound) int {
	if value == nil {
		return b.usual
	}
	number := int(*value)
	if number < b.least || number > b.most {
		t.Tell(mesh.Problem{
			Field: field, Code: config.CodeOutOfRange, Message: fmt.Sprintf("%d is not from %d to %d", number, b.least, b.most),
			Hint: fmt.Sprintf("without the field it is %d", b.usual),
		})
	}
	return number
}

// spanOr returns the duration at field, or the default.
func (t *translator) spanOr(field string, value *config.Duration, usual mesh.Duration) mesh.Duration {
	if value == nil {
		return usual
	}
	return mesh.Duration(t.Span(field, value))
}
