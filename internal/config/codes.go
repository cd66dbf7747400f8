package config

// Codes of problems. They are fixed: docs/reference/problems.md shows them, and users match on them.
const (
	// CodeSyntax: the document is not YAML.
	CodeSyntax = "syntax"
	// CodeTooLarge: a file, its number of documents or nodes, the nesting or a value is over its bound.
	CodeTooLarge = "too-large"
	// CodeTooMany: an object has more problems than are told.
	CodeTooMany = "too-many-problems"
	// CodeDuplicateField: a mapping has the same key twice.
	CodeDuplicateField = "duplicate-field"
	// CodeUnknownField: no such field exists.
	CodeUnknownField = "unknown-field"
	// CodeUnsupportedField: the field exists, but Lateen does not do what it asks for.
	CodeUnsupportedField = "unsupported-field"
	// CodeMissingField: a field that must be there is not.
	CodeMissingField = "missing-field"
	// CodeConflictingFields: fields exclude one another.
	CodeConflictingFields = "conflicting-fields"
	// CodeWrongType: text where a number must be, a list where a mapping must be, and so on.
	CodeWrongType = "wrong-type"
	// CodeInvalidName: the name of an object, namespace, service or header is not one.
	CodeInvalidName = "invalid-name"
	// CodeInvalidValue: a value has the right type but does not make sense.
	CodeInvalidValue = "invalid-value"
	// CodeInvalidDuration: a duration is not one, or too short or too fine.
	CodeInvalidDuration = "invalid-duration"
	// CodeInvalidRegex: a regular expression is not RE2, or too long.
	CodeInvalidRegex = "invalid-regex"
	// CodeOutOfRange: a number is too small or too large.
	CodeOutOfRange = "out-of-range"
	// CodeWeightSum: the weights of a route do not add up to 100.
	CodeWeightSum = "weight-sum"

	// CodeUnknownKind: no dialect knows the kind.
	CodeUnknownKind = "unknown-kind"
	// CodeUnsupportedVersion: the kind is known, its apiVersion is not accepted.
	CodeUnsupportedVersion = "unsupported-version"
	// CodeDuplicateObject: kind, namespace and name are taken by another object.
	CodeDuplicateObject = "duplicate-object"
	// CodeDuplicateService: two sources know a service or workload of this name.
	CodeDuplicateService = "duplicate-service"
	// CodeSourceStale: a source has not reported since the start.
	CodeSourceStale = "source-stale"
	// CodeUnknownHost: an object names a host that no source knows.
	CodeUnknownHost = "unknown-host"
	// CodeUnknownPort: an object names a port that the service does not have.
	CodeUnknownPort = "unknown-port"
	// CodeEmptySubset: an object names labels that no endpoint has which takes requests now.
	CodeEmptySubset = "empty-subset"
	// CodeNoEffect: what is written is right and changes nothing.
	CodeNoEffect = "no-effect"
	// CodeUnknownSecret: an Ingress names a secret that is not there or holds no certificate.
	CodeUnknownSecret = "unknown-secret"
	// CodeUnreachableRule: rules tried before it take every request that a rule takes.
	CodeUnreachableRule = "unreachable-rule"
	// CodeOverlappingRules: two rules may take the same request, and only their names say which one is tried first.
	CodeOverlappingRules = "overlapping-rules"
	// CodeDuplicateDestination: two EgressRules have the same destination.
	CodeDuplicateDestination = "duplicate-destination"
	// CodeDuplicatePolicy: two DestinationPolicies are for the same destination, labels and source.
	CodeDuplicatePolicy = "duplicate-policy"
	// CodeDuplicatePath: two Ingress objects, or one twice, have the same host and path.
	CodeDuplicatePath = "duplicate-path"
	// CodeDuplicateTLS: two Ingress objects name different secrets for one host.
	CodeDuplicateTLS = "duplicate-tls"
	// CodeUnreadableFile: a watched file or folder, or a ConfigMap with settings, cannot be read.
	CodeUnreadableFile = "unreadable-file"
)
