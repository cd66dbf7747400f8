package serve_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lateen-mesh/lateen/internal/api"
	"github.com/lateen-mesh/lateen/internal/config"
	"github.com/lateen-mesh/lateen/internal/dialect/meshconfig"
	"github.com/lateen-mesh/lateen/internal/mesh"
	"github.com/lateen-mesh/lateen/internal/meshtest"
	"github.com/lateen-mesh/lateen/internal/serve"
)

// settingsPlace stands for the place where the settings of a mesh stand.
type settingsPlace struct {
	t    *testing.T
	says chan serve.SettingsText
	took chan error

	mu  sync.Mutex
	log bytes.Buffer
}

func newSettingsPlace(t *testing.T) *settingsPlace {
	t.Helper()
	return &settingsPlace{t: t, says: make(chan serve.SettingsText), took: make(chan error)}
}

// Write takes the log of the control plane.
func (p *settingsPlace) Write(line []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(line)
}

// watched has a control plane read its settings here.
func (p *settingsPlace) watched(c *serve.Config) {
	c.Log = slog.New(slog.NewJSONHandler(p, nil))
	c.Patience = 100 * time.Millisecond
	c.Settings = func(ctx context.Context, sink serve.SettingsSink) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case text := <-p.says:
				p.took <- sink(ctx, text)
			}
		}
	}
}

// say waits until the control plane has taken what the place says.
func (p *settingsPlace) say(text serve.SettingsText) {
	p.t.Helper()
	text.Document.Name = "ConfigMap lateen-system/lateen, mesh"
	p.says <- text
	if err := <-p.took; err != nil {
		p.t.Fatal(err)
	}
}

func (p *settingsPlace) text(text string) {
	p.t.Helper()
	p.say(serve.SettingsText{Document: meshconfig.Document{Text: []byte(text)}, Found: true})
}

// inForce returns the policy of the settings that were logged last, and how often settings were.
func (p *settingsPlace) inForce() (policy mesh.AuthPolicy, times int) {
	p.t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for line := range strings.Lines(p.log.String()) {
		var record struct {
			Msg        string          `json:"msg"`
			AuthPolicy mesh.AuthPolicy `json:"authPolicy"`
		}
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			p.t.Fatal(err)
		}
		if record.Msg == "mesh settings" {
			policy, times = record.AuthPolicy, times+1
		}
	}
	return policy, times
}

// wants compares the policy in force, how often settings came into force, and the first words of what is wrong.
func (p *settingsPlace) wants(plane *plane, policy mesh.AuthPolicy, times int, wrong string) {
	p.t.Helper()
	if got, n := p.inForce(); got != policy || n != times {
		p.t.Errorf("%q in force, settings were told %d times; want %q, %d", got, n, policy, times)
	}
	problems, err := plane.api.Problems(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	if wrong == "" && len(problems) > 0 || wrong != "" && (len(problems) != 1 || !strings.HasPrefix(problems[0].String(), wrong)) {
		p.t.Errorf("problems %v, want %q", problems, wrong)
	}
}

const misspelt = "ConfigMap lateen-system/lateen, mesh:2:1: error: authPolcy: unknown field [unknown-field]\n" +
	`  hint: did you mean "authPolicy"?; what was good last stays in force`

// TestSettingsAreReadLive changes the settings of a mesh that runs, for better and for worse.
func TestSettingsAreReadLive(t *testing.T) {
	t.Parallel()
	place := newSettingsPlace(t)
	plane := startPlane(t, place.watched)
	plane.registers() // nothing is in force before the settings are known
	if _, times := place.inForce(); times != 0 {
		t.Error("settings are in force that nobody has read")
	}
	place.say(serve.SettingsText{})
	place.wants(plane, "", 1, "")
	place.text("authPolicy: MUTUAL_TLS")
	place.wants(plane, mesh.AuthMutualTLS, 2, "")
	place.text("authPolicy: NONE\nauthPolcy: NONE")
	place.wants(plane, mesh.AuthMutualTLS, 2, misspelt)
	place.say(serve.SettingsText{Err: errors.New("configmaps is forbidden")})
	place.wants(plane, mesh.AuthMutualTLS, 2, "ConfigMap lateen-system/lateen, mesh: error: cannot be read: configmaps is forbidden [unreadable-file]\n  hint: what was good last")
	place.text("authPolicy: NONE")
	place.wants(plane, mesh.AuthNone, 3, "")
	place.say(serve.SettingsText{})
	place.wants(plane, "", 4, "")
}

// TestBrokenSettingsAtTheStart wants a control plane that never read good settings not to begin with others, and one that
// did in its last life to go on with them.
func TestBrokenSettingsAtTheStart(t *testing.T) {
	t.Parallel()
	place := newSettingsPlace(t)
	plane := startPlane(t, place.watched)
	place.text("\nauthPolcy: NONE")
	plane.registers()
	// With patience at its end it is told too that the source is silent.
	meshtest.Await(t, "the problems", func() bool {
		problems, err := plane.api.Problems(t.Context())
		return err == nil && len(problems) == 2
	})
	if _, times := place.inForce(); times != 0 {
		t.Error("settings are in force that nobody has read")
	}
	if status, body := fetch(t, plane.url+"/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(body, "waiting for settings") {
		t.Errorf("%d %s", status, body)
	}
	place.text("authPolicy: MUTUAL_TLS")
	place.wants(plane, mesh.AuthMutualTLS, 1, "")
}

// hearer is a source that knows nothing and hears the settings.
type hearer struct{ heard []mesh.AuthPolicy }

func (h *hearer) Objects() []config.Object       { return nil }
func (h *hearer) TakeSettings(set mesh.Settings) { h.heard = append(h.heard, set.AuthPolicy) }
func (h *hearer) Run(ctx context.Context) error  { <-ctx.Done(); return nil }

// TestSettingsOutliveTheControlPlane wants what was good last to count after a restart, where the document is broken meanwhile, also
// for the sources beside it.
func TestSettingsOutliveTheControlPlane(t *testing.T) {
	t.Parallel()
	place := newSettingsPlace(t)
	dir := t.TempDir()
	life := func(text string) {
		ctx, stop := context.WithCancel(t.Context())
		source := &hearer{}
		config := serve.Config{
			StateDir: dir, Attached: []serve.Attached{{New: func(serve.Attachment) (serve.Source, error) { return source, nil }}},
		}
		place.watched(&config)
		p, err := serve.New(config)
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		go func() { ended <- p.Run(ctx) }()
		place.text(text)
		if want := []mesh.AuthPolicy{mesh.AuthMutualTLS}; !slices.Equal(source.heard, want) {
			t.Errorf("%q: the source heard %q, want %q", text, source.heard, want)
		}
		client := api.NewClient(filepath.Join(dir, api.SocketName))
		meshtest.Await(t, "the API", func() bool { _, err := client.PutRegistry(ctx, mesh.Registry{}); return err == nil })
		meshtest.Await(t, "settings", func() bool { status, err := client.Status(ctx); return err == nil && status.Ready })
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	life("authPolicy: MUTUAL_TLS")
	life("\nauthPolcy: NONE")
	if policy, times := place.inForce(); policy != mesh.AuthMutualTLS || times != 2 {
		t.Errorf("%q in force, told %d times", policy, times)
	}
}

// registers says that nothing runs.
func (p *plane) registers() {
	p.t.Helper()
	if _, err := p.api.PutRegistry(p.t.Context(), mesh.Registry{}); err != nil {
		p.t.Fatal(err)
	}
}

func fetch(t *testing.T, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
