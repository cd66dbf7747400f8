package envoy

import (
	"slices"
	"strconv"
	"strings"
	"time"

	mutationrulesv3 "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	headermutationv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_mutation/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/plan"
)

// Headers by which Envoy is told, request by request, what otherwise stands in its configuration.
const (
	timeoutHeader = "x-envoy-upstream-rq-timeout-ms"
	retriesHeader = "x-envoy-max-retries"
	delayHeader   = "x-envoy-fault-delay-request"
	abortHeader   = "x-envoy-fault-abort-request"
)

// filterConfigs returns what the HTTP filters are to do for requests of one route.
func filterConfigs(p plan.Route) (map[string]*anypb.Any, error) {
	configs := map[string]proto.Message{}
	if p.Fault != nil {
		configs[faultFilter] = httpFault(p.Fault)
	}
	if p.CORS != nil {
		configs[corsFilter] = cors(p.CORS)
	}
	if copies := headerCopies(p); len(copies) > 0 {
		configs[mutationFilter] = &headermutationv3.HeaderMutationPerRoute{
			Mutations: &headermutationv3.Mutations{RequestMutations: copies},
		}
	}
	if len(configs) == 0 {
		return nil, nil
	}
	packed := make(map[string]*anypb.Any, len(configs))
	for name, config := range configs {
		var err error
		if packed[name], err = pack(config); err != nil {
			return nil, err
		}
	}
	return packed, nil
}

// headerCopies copies the headers of users' choice to those that Envoy obeys. A header that is not there copies nothing.
func headerCopies(p plan.Route) []*mutationrulesv3.HeaderMutation {
	copies := slices.Concat(headerCopy(p.TimeoutHeader, timeoutHeader), headerCopy(p.RetriesHeader, retriesHeader))
	if f := p.Fault; f != nil {
		if f.Delay != nil {
			copies = append(copies, headerCopy(f.Delay.Header, delayHeader)...)
		}
		if f.Abort != nil {
			copies = append(copies, headerCopy(f.Abort.Header, abortHeader)...)
		}
	}
	return copies
}

// headerCopy copies one header, if it is named, in place of what the client wrote into Envoy's. Beside those for faults,
// which Envoy believes from everybody, stands a share of the requests that would lower the rule's.
func headerCopy(from, to string) []*mutationrulesv3.HeaderMutation {
	if from == "" {
		return nil
	}
	remove := func(name string) *mutationrulesv3.HeaderMutation {
		return &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Remove{Remove: name}}
	}
	copies := []*mutationrulesv3.HeaderMutation{remove(to)}
	if to == delayHeader || to == abortHeader {
		copies = append(copies, remove(to+"-percentage"))
	}
	return append(copies, &mutationrulesv3.HeaderMutation{Action: &mutationrulesv3.HeaderMutation_Append{
		Append: &corev3.HeaderValueOption{
			Header:       &corev3.HeaderValue{Key: to, Value: "%REQ(" + from + ")%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		},
	}})
}

func httpFault(f *mesh.Fault) *faultv3.HTTPFault {
	fault := &faultv3.HTTPFault{}
	if d := f.Delay; d != nil {
		fault.Delay = &commonfaultv3.FaultDelay{Percentage: fraction(d.Percent)}
		if d.Header != "" {
			fault.Delay.FaultDelaySecifier = &commonfaultv3.FaultDelay_HeaderDelay_{HeaderDelay: &commonfaultv3.FaultDelay_HeaderDelay{}}
		} else {
			fault.Delay.FaultDelaySecifier = &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: duration(d.Fixed)}
		}
	}
	if a := f.Abort; a != nil {
		fault.Abort = &faultv3.FaultAbort{Percentage: fraction(a.Percent)}
		switch {
		case a.Header != "":
			fault.Abort.ErrorType = &faultv3.FaultAbort_HeaderAbort_{HeaderAbort: &faultv3.FaultAbort_HeaderAbort{}}
		case a.GRPC != nil:
			fault.Abort.ErrorType = &faultv3.FaultAbort_GrpcStatus{GrpcStatus: uint32(*a.GRPC)} //nolint:gosec // 0 to 16, checked
		default:
			fault.Abort.ErrorType = &faultv3.FaultAbort_HttpStatus{HttpStatus: uint32(a.Status)} //nolint:gosec // a status, checked
		}
	}
	if t := f.Throttle; t != nil {
		fault.ResponseRateLimit = &commonfaultv3.FaultRateLimit{
			LimitType: &commonfaultv3.FaultRateLimit_FixedLimit_{
				FixedLimit: &commonfaultv3.FaultRateLimit_FixedLimit{LimitKbps: uint64(t.KiBPerSecond)}, //nolint:gosec // above 0, checked
			},
			Percentage: fraction(t.Percent),
		}
	}
	return fault
}

func cors(c *mesh.CORS) *corsv3.CorsPolicy {
	p := &corsv3.CorsPolicy{
		AllowMethods:  strings.Join(c.Methods, ","),
		AllowHeaders:  strings.Join(c.Headers, ","),
		ExposeHeaders: strings.Join(c.ExposeHeaders, ","),
	}
	for _, origin := range c.Origins {
		p.AllowOriginStringMatch = append(p.AllowOriginStringMatch, &matcherv3.StringMatcher{
			MatchPattern: &matcherv3.StringMatcher_Exact{Exact: origin}, // of "*" Envoy knows what is meant
		})
	}
	if c.MaxAge != nil {
		p.MaxAge = strconv.Itoa(int(time.Duration(*c.MaxAge).Seconds()))
	}
	if c.Credentials {
		p.AllowCredentials = wrapperspb.Bool(true)
	}
	return p
}
