package envoy

import (
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"
)

// jsonFormat spells an access-log format: a key for each value, and null where Envoy has none.
func jsonFormat(format map[string]string) *corev3.SubstitutionFormatString {
	fields := make(map[string]*structpb.Value, len(format))
	for key, value := range format {
		fields[key] = structpb.NewStringValue(value)
	}
	return &corev3.SubstitutionFormatString{
		Format: &corev3.SubstitutionFormatString_JsonFormat{JsonFormat: &structpb.Struct{Fields: fields}},
	}
}
