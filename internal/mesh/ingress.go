package mesh

import "slices"

// IngressSettings say which Ingress objects are for the door of the mesh, and how the door is found.
type IngressSettings struct {
	Mode IngressMode `json:"mode,omitempty"` // "": STRICT in a cluster, elsewhere DEFAULT
	// Class is the value of the annotation kubernetes.io/ingress.class by which objects are meant; "": istio.
	Class string `json:"class,omitempty"`
	// Service is the name of the Service whose addresses stand in the status of objects; "": [IngressName].
	Service string `json:"service,omitempty"`
	// Classes are the names of the IngressClasses of a cluster whose controller is Lateen, sorted; none: no cluster says so.
	Classes []string `json:"classes,omitempty"`
	// ProxyProtocol tells that each connection to the door begins with the address of its client.
	ProxyProtocol bool `json:"proxyProtocol,omitempty"`
}

// IngressMode says which Ingress objects without a class are for the door.
type IngressMode string

// The modes: no objects at all; also those without a class; only those with one of Lateen's.
const (
	IngressOff     IngressMode = "OFF"
	IngressDefault IngressMode = "DEFAULT"
	IngressStrict  IngressMode = "STRICT"
)

// IngressClassName is the class whose objects are for the door whatever a cluster says.
const IngressClassName = "lateen"

// oldClass is that of Istio's users.
const oldClass = "istio"

// IngressClass is how an Ingress object says whose it is.
type IngressClass struct {
	Name string // "": it says nothing
	// Annotated tells that the name stands in the annotation kubernetes.io/ingress.class, not in spec.ingressClassName.
	Annotated bool
}

// Takes tells whether objects of a class are for the door.
func (s *IngressSettings) Takes(c IngressClass) bool {
	local := len(s.Classes) == 0
	switch {
	case s.Mode == IngressOff:
		return false
	case c.Name == "":
		return s.Mode == IngressDefault || (s.Mode == "" && local)
	case c.Name == IngressClassName, slices.Contains(s.Classes, c.Name):
		return true
	case c.Annotated && s.Class != "":
		return c.Name == s.Class
	default:
		return c.Name == oldClass && (c.Annotated || local)
	}
}

// TakesAsBefore tells whether the same classes are for the door as with other settings.
func (s *IngressSettings) TakesAsBefore(o *IngressSettings) bool {
	return s.Mode == o.Mode && s.Class == o.Class && slices.Equal(s.Classes, o.Classes)
}
