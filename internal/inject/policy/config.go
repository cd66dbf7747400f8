package policy

import (
	"cmp"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/mesh"
)

// Mode says what becomes of pods of which nothing else says anything.
type Mode string

// The modes that there are.
const (
	Enabled  Mode = "enabled"
	Disabled Mode = "disabled"
)

// Everywhere stands for all namespaces among those of a [Config], and AllNetworks for all networks among those of [Params].
const (
	Everywhere  = ""
	AllNetworks = "*"
)

// Bounds of what is injected.
const (
	// MaxRanges is how many networks may be captured, as package capture has it.
	MaxRanges = 256
	// MaxVersion is how long the version of a sidecar may be, in bytes.
	MaxVersion = 200
)

// Config says which pods get a sidecar by themselves, and which one.
type Config struct {
	Mode       Mode
	Namespaces []string // whose pods may get one, sorted; Everywhere is all of them
	Excluded   []string // namespaces whose pods never do, sorted
	Params     Params
	Places     Places
}

// Places say where a document has what decides about pods; zero: it does not have it.
type Places struct{ Mode, Namespaces, Excluded mesh.Position }

// Params are what of the sidecar can be set. What is empty is as the program has it.
type Params struct {
	Image   string   // of agent and Envoy
	Pull    string   // when nodes pull it, one of [Pulls]
	Version string   // as the pod's annotation tells it
	Ranges  []string // networks of IPv4 that are captured when the pod calls them; AllNetworks is all
}

// Default returns what a document means that says nothing: every pod in every namespace, as in 2017.
func Default() Config { return Config{Mode: Enabled, Namespaces: []string{Everywhere}} }

// Unsaid returns what holds in a cluster where no document says anything: a pod gets a sidecar if it, or its namespace, asks for it.
func Unsaid() Config {
	c := Default()
	c.Mode = Disabled
	return c
}

// Document is a text that a [Config] is read from.
type Document struct {
	Name   string   // stands in positions: "ConfigMap lateen-system/lateen-inject, config"
	Object mesh.Ref // that holds it; zero: a file does
	Text   []byte
}

// Read returns what a document says, and what is wrong with it. With an error among the problems it is not to be used: what was
// good last stays in force, which is the matter of who reads it. What is returned then is [Default].
func Read(d Document) (Config, []mesh.Problem) {
	o, problems := config.ParseBare(d.Name, d.Text, d.Object)
	if mesh.HasErrors(problems) {
		return Default(), problems
	}
	r := &reader{config.Check{Object: o}}
	var s spec
	r.Decode("", &s)
	c := r.config(&s)
	mesh.SortProblems(r.Problems)
	if mesh.HasErrors(r.Problems) {
		c = Default()
	}
	return c, r.Problems
}

// spec is the document, as the sidecar-initializer had it below the key "config" of the ConfigMap istio-inject.
type spec struct {
	Policy            string     `yaml:"policy"`
	Namespaces        []string   `yaml:"namespaces"`
	ExcludeNamespaces []string   `yaml:"excludeNamespaces"`
	InitializerName   string     `yaml:"initializerName"`
	Params            paramsSpec `yaml:"params"`
}

type paramsSpec struct {
	InitImage         string `yaml:"initImage"`
	ProxyImage        string `yaml:"proxyImage"`
	Verbosity         int32  `yaml:"verbosity"`
	SidecarProxyUID   *int64 `yaml:"sidecarProxyUID"`
	Version           string `yaml:"version"`
	EnableCoreDump    bool   `yaml:"enableCoreDump"`
	DebugMode         bool   `yaml:"debugMode"`
	ImagePullPolicy   string `yaml:"imagePullPolicy"`
	IncludeIPRanges   string `yaml:"includeIPRanges"`
	MeshConfigMapName string `yaml:"meshConfigMapName"`
}

// Example shows how it is written.
func (paramsSpec) Example() string { return "{proxyImage: registry.example.com/mesh/lateen-proxy:1.0}" }

// reader checks one document.
type reader struct{ config.Check }

func (r *reader) config(s *spec) Config {
	c := Config{Mode: Mode(cmp.Or(s.Policy, string(Enabled)))}
	if c.Mode != Enabled && c.Mode != Disabled {
		r.invalid("policy", fmt.Sprintf("%.80q is no policy", s.Policy), config.Suggest(s.Policy, "policies", []string{string(Enabled), string(Disabled)}))
	}
	if len(s.Namespaces) > 0 && len(s.ExcludeNamespaces) > 0 {
		r.Tell(mesh.Problem{
			Field: "excludeNamespaces", Code: config.CodeConflictingFields, Message: "cannot configure both namespaces and excludeNamespaces",
			Hint: "leave one of them out: without namespaces all count but those that are excluded",
		})
	}
	c.Namespaces = r.namespaces("namespaces", s.Namespaces, func(string) {})
	if s.Namespaces == nil {
		c.Namespaces = []string{Everywhere}
	} else if len(s.Namespaces) == 0 {
		r.noEffect("namespaces", "no namespace is named: no pod gets a sidecar", `leave the field out for all namespaces, or write policy: "disabled"`)
	}
	c.Excluded = r.namespaces("excludeNamespaces", s.ExcludeNamespaces, func(field string) {
		r.invalid(field, `"" is all namespaces, and they cannot all be excluded`, `write policy: "disabled"`)
	})
	c.Params = r.params(&s.Params)
	c.Places = Places{Mode: r.place("policy"), Namespaces: r.place("namespaces"), Excluded: r.place("excludeNamespaces")}
	return c
}

// place returns where a field is; zero if it is not there.
func (r *reader) place(field string) mesh.Position {
	if !r.Object.Has(field) {
		return mesh.Position{}
	}
	return r.Object.At(field)
}

// namespaces reads names of namespaces and returns them sorted. It calls all for "", which is every namespace.
func (r *reader) namespaces(field string, list []string, all func(field string)) []string {
	var names []string
	for i, name := range list {
		switch at := config.Item(field, i); {
		case name == Everywhere:
			all(at)
		case !config.IsLabel(name):
			p := mesh.Problem{Field: at, Code: config.CodeInvalidName, Message: fmt.Sprintf("%.80q is no name of a namespace", name)}
			if name == "*" {
				p.Hint = `"" is for all namespaces`
			}
			r.Tell(p)
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (r *reader) params(s *paramsSpec) Params {
	const in = "params."
	p := Params{Pull: s.ImagePullPolicy, Version: s.Version}
	p.Image = r.image(in+"proxyImage", s.ProxyImage)
	if err := CheckPull(s.ImagePullPolicy); err != nil {
		r.invalid(in+"imagePullPolicy", err.Error(), config.Suggest(s.ImagePullPolicy, "policies", Pulls()))
	}
	if err := CheckVersion(s.Version); s.Version != "" && err != nil {
		r.invalid(in+"version", err.Error(), "")
	}
	for network := range strings.SplitSeq(s.IncludeIPRanges, ",") {
		if network = strings.TrimSpace(network); network != "" {
			p.Ranges = append(p.Ranges, network)
		}
	}
	if err := CheckRanges(p.Ranges); err != nil {
		r.invalid(in+"includeIPRanges", err.Error(), `write networks with commas: "10.0.0.0/8,172.16.0.0/12"`)
	}
	if s.SidecarProxyUID != nil && *s.SidecarProxyUID != mesh.ProxyUser {
		r.noEffect(in+"sidecarProxyUID", "the proxy's user is "+strconv.Itoa(mesh.ProxyUser), "leave it out, and let no other program run as that user")
	}
	if s.EnableCoreDump {
		r.noEffect(in+"enableCoreDump", "a sidecar may not change its node, which says what becomes of core dumps", "")
	}
	if s.DebugMode {
		r.noEffect(in+"debugMode", "there is one image, and no sidecar is privileged", "`lateen config` shows what a proxy has, `kubectl debug` puts tools beside it")
	}
	return p
}

// istioImages are the names of the sidecars of 2017. Lateen's does not answer to them: such an image would not start as ours.
var istioImages = []string{"proxy", "proxy_debug"}

// image reads the name of the sidecar's image; "" for that of the program.
func (r *reader) image(field, name string) string {
	if name == "" {
		return ""
	}
	if err := CheckImage(name); err != nil {
		r.invalid(field, err.Error(), "")
		return ""
	}
	repository, _, _ := strings.Cut(name, "@")
	repository = repository[strings.LastIndexByte(repository, '/')+1:]
	repository, _, _ = strings.Cut(repository, ":")
	if slices.Contains(istioImages, repository) {
		r.noEffect(field, fmt.Sprintf("%.200s is a sidecar of Istio: the image of this version of Lateen is taken", name), "leave it out, or name an image of lateen-proxy")
		return ""
	}
	return name
}

func (r *reader) invalid(field, message, hint string) {
	r.Tell(mesh.Problem{Field: field, Code: config.CodeInvalidValue, Message: message, Hint: hint})
}

func (r *reader) noEffect(field, message, hint string) {
	r.Warn(mesh.Problem{Field: field, Code: config.CodeNoEffect, Message: message, Hint: hint})
}

// imageName is what a container runtime takes, roughly: a name in a registry, and a tag or digest.
var imageName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._:/@-]*$`)

const maxImage = 1024

// CheckImage returns an error unless the text can name an image.
func CheckImage(name string) error {
	if len(name) > maxImage || !imageName.MatchString(name) {
		return fmt.Errorf("%.200q is no name of an image", name)
	}
	return nil
}

// Pulls returns the words for when nodes pull an image.
func Pulls() []string { return []string{"Always", "IfNotPresent", "Never"} }

// CheckPull returns an error unless the text is one of [Pulls], or "".
func CheckPull(word string) error {
	if word != "" && !slices.Contains(Pulls(), word) {
		return fmt.Errorf("%.80q is no policy for pulling images: Always, IfNotPresent and Never are", word)
	}
	return nil
}

// CheckVersion returns an error unless the text can stand in a pod's annotation as the version of its sidecar.
func CheckVersion(version string) error {
	if version == "" || len(version) > MaxVersion {
		return fmt.Errorf("the version of the sidecar must have 1 to %d bytes", MaxVersion)
	}
	if strings.ContainsFunc(version, unicode.IsControl) {
		return fmt.Errorf("the version of the sidecar %q must be text of one line", version)
	}
	return nil
}

// CheckRanges returns an error unless all the texts are networks that can be captured, or AllNetworks.
func CheckRanges(ranges []string) error {
	if len(ranges) > MaxRanges {
		return fmt.Errorf("%d networks are more than %d: give fewer, larger ones", len(ranges), MaxRanges)
	}
	for _, r := range ranges {
		if r == AllNetworks {
			continue
		}
		network, err := netip.ParsePrefix(r)
		switch {
		case err != nil:
			return fmt.Errorf("%.80q is no network, such as 10.0.0.0/8", r)
		case !network.Addr().Is4():
			return fmt.Errorf("%s is a network of IPv6, which is not captured", r)
		}
	}
	return nil
}
