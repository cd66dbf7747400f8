package envoy

import (
	"slices"
	"sync"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	filelogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/file/v3"
	celv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/filters/cel/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/lateen-mesh/lateen/internal/mesh"
)

// AccessLogPath is where proxies write their access log. The agent that starts Envoy in a folder of its own makes it a file there.
const AccessLogPath = "access.log"

// selfValue is the proxy that writes, as its agent has told its Envoy: so listeners do not differ by the name of their workload, and many
// proxies share one.
const selfValue = "%ENVIRONMENT(" + mesh.ProxyIDVariable + ")%"

// A logFormat is what lines of the access log say under each key, in the words of Envoy's formatters; "" is null. All lines have the
// same keys, which are fixed in docs/reference/interfaces.md.
type logFormat map[string]string

// requestKeys and connectionKeys are the part of the format that does not depend on the place, marshalled once.
var (
	requestKeys = sync.OnceValues(func() ([]byte, error) {
		return fileLog(AccessLogPath, logFormat{
			"time":        "%START_TIME%",
			"method":      "%REQ(:METHOD)%",
			"authority":   "%REQ(:AUTHORITY)%",
			"path":        "%REQ(:PATH)%",
			"code":        "%RESPONSE_CODE%",
			"flags":       "%RESPONSE_FLAGS%",
			"details":     "%RESPONSE_CODE_DETAILS%",
			"rule":        "%ROUTE_NAME%",
			"duration_ms": "%DURATION%",
			"bytes_in":    "%BYTES_RECEIVED%",
			"bytes_out":   "%BYTES_SENT%",
			"request_id":  "%REQ(X-REQUEST-ID)%",
		})
	})
	connectionKeys = sync.OnceValues(func() ([]byte, error) {
		return fileLog(AccessLogPath, logFormat{
			"time":        "%START_TIME%",
			"method":      "",
			"authority":   "",
			"path":        "",
			"code":        "%RESPONSE_CODE%",
			"flags":       "%RESPONSE_FLAGS%",
			"duration_ms": "%DURATION%",
			"bytes_in":    "%BYTES_RECEIVED%",
			"bytes_out":   "%BYTES_SENT%",
			"request_id":  "",
		})
	})
)

// requestLog writes one JSON object per request. The place is what it says of where it is and who called.
func requestLog(place logFormat) (*accesslogv3.AccessLog, error) {
	return accessLog(requestKeys, place)
}

// connectionLog writes one JSON object per connection, of those that an expression of CEL chooses; "": of all. The place says also
// what decided and why.
func connectionLog(place logFormat, where string) (*accesslogv3.AccessLog, error) {
	log, err := accessLog(connectionKeys, place)
	if err == nil && where != "" {
		log.Filter, err = connectionWhere(where)
	}
	return log, err
}

// accessLog adds the place to the keys that all logs have in common: of two messages that follow each other readers make one.
func accessLog(common func() ([]byte, error), place logFormat) (*accesslogv3.AccessLog, error) {
	first, err := common()
	if err != nil {
		return nil, err
	}
	second, err := fileLog("", place)
	if err != nil {
		return nil, err
	}
	return &accesslogv3.AccessLog{
		Name:       fileLogger,
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: packed(&filelogv3.FileAccessLog{}, slices.Concat(first, second))},
	}, nil
}

func fileLog(path string, format logFormat) ([]byte, error) {
	fields := make(map[string]*structpb.Value, len(format))
	for key, value := range format {
		fields[key] = structpb.NewNullValue()
		if value != "" {
			fields[key] = structpb.NewStringValue(value)
		}
	}
	return marshal(&filelogv3.FileAccessLog{
		Path: path,
		AccessLogFormat: &filelogv3.FileAccessLog_LogFormat{LogFormat: &corev3.SubstitutionFormatString{
			Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
		}},
	})
}

// connectionWhere chooses connections by an expression of CEL. What it cannot find is an error there, and chooses nothing.
func connectionWhere(expression string) (*accesslogv3.AccessLogFilter, error) {
	config, err := pack(&celv3.ExpressionFilter{Expression: expression})
	return &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_ExtensionFilter{
		ExtensionFilter: &accesslogv3.ExtensionFilter{
			Name: "envoy.access_loggers.extension_filters.cel", ConfigType: &accesslogv3.ExtensionFilter_TypedConfig{TypedConfig: config},
		},
	}}, err
}
